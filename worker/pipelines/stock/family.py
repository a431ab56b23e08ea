"""The stock family: any diffusers pipeline, one call at a time, with previews from its step callback."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoPipelineForImage2Image

from core.catalogue import CatalogueModel
from core.errors import InvalidInput
from core.render import RenderRequest
from worker.device.torch_device import use_device
from worker.init_image import open_init_image, open_reference
from worker.models.libraries import Pipeline
from worker.pipelines.decoding import LatentPreview, check_finite, decodes_frames
from worker.pipelines.execution_mode import execution_mode
from worker.pipelines.family import FamilyContext, Sample, refuse_start_sigma, strength_of
from worker.pipelines.inpainting import refuse_mask
from worker.pipelines.noise import refuse_noise
from worker.pipelines.stock.stepped_call import SteppedCall

_UNPACK_LATENTS_PARAMETERS = ("latents", "height", "width", "vae_scale_factor")
_FLUX_2_METHODS = ("_unpack_latents_with_ids", "_prepare_latent_ids", "_unpatchify_latents")


def passes_latents_to_callback(pipeline: Pipeline) -> bool:
    """Return whether its step callback can receive the latents."""
    return "latents" in getattr(pipeline, "_callback_tensor_inputs", ())


def vae_channels(pipeline: Pipeline) -> int | None:
    """Return the channels of the latents that its VAE decodes; None if unknown."""
    config = getattr(getattr(pipeline, "vae", None), "config", None)
    channels: int | None = getattr(config, "latent_channels", getattr(config, "z_dim", None))
    return channels


def to_vae_layout(pipeline: Pipeline, latents: torch.Tensor, width: int, height: int) -> torch.Tensor | None:
    """Convert to the VAE's 1 x channels x h x w, for an image of that size in pixels; None for an unknown layout."""
    found = latents if latents.ndim == 4 else _unpacked(pipeline, latents, width, height)
    if found is not None and found.ndim == 5 and found.shape[2] == 1 and decodes_frames(pipeline.vae):
        found = found.squeeze(2)
    return found if found is not None and found.ndim == 4 and found.shape[1] == vae_channels(pipeline) else None


def _unpacked(pipeline: Pipeline, latents: torch.Tensor, width: int, height: int) -> torch.Tensor | None:
    """Unpack batch x tokens x channels through the pipeline's own methods."""
    if latents.ndim != 3:
        return None
    if all(hasattr(pipeline, name) for name in _FLUX_2_METHODS) and hasattr(pipeline.vae, "bn"):
        return _flux_2(pipeline, latents, width, height)
    unpack = getattr(pipeline, "_unpack_latents", None)
    if unpack is None or tuple(inspect.signature(unpack).parameters) != _UNPACK_LATENTS_PARAMETERS:
        return None
    unpacked: torch.Tensor = unpack(latents, height, width, pipeline.vae_scale_factor)
    return unpacked


def _flux_2(pipeline: Pipeline, latents: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Undo FLUX.2's packing: 2x2 latents per token, normalised with its VAE's batch norm."""
    side = pipeline.vae_scale_factor * 2
    rows, columns = height // side, width // side
    ids = pipeline._prepare_latent_ids(latents.new_empty(1, 1, rows, columns)).to(latents.device)
    packed = pipeline._unpack_latents_with_ids(latents, ids, rows, columns)
    norm = pipeline.vae.bn
    deviation = torch.sqrt(norm.running_var.view(1, -1, 1, 1) + pipeline.vae.config.batch_norm_eps)
    mean = norm.running_mean.view(1, -1, 1, 1)
    unpacked: torch.Tensor = pipeline._unpatchify_latents(packed * deviation.to(packed) + mean.to(packed))
    return unpacked


@dataclass
class CallbackState:
    """Tensors that the step callback received; None before the first step, or if the pipeline does not pass them."""

    latents: torch.Tensor | None = None


@dataclass(eq=False, kw_only=True)
class StockSample(Sample):
    """`call` runs `pipeline` and returns an array, height x width x 3, 0..1. `callback_state`: as of its latest step."""

    call: SteppedCall[Any]
    pipeline: Pipeline
    callback_state: CallbackState


class StockFamily:
    """Renders one sample at a time, since a pipeline's call keeps its state in the pipeline."""

    name = "stock"
    max_samples: int | None = 1
    can_overlap_decode = False
    can_overlap_encode = False

    def __init__(self, loaded: FamilyContext) -> None:
        self._pipeline: Pipeline = loaded.pipeline
        self._model = loaded.model
        self._device = loaded.device
        self._context = loaded
        self._accepts = frozenset(inspect.signature(loaded.pipeline.__call__).parameters)
        self.has_steps = "callback_on_step_end" in self._accepts
        self._image_to_image: Pipeline | None = None
        channels = vae_channels(self._pipeline)
        self._preview = LatentPreview(self._pipeline.vae, channels) if channels else None

    def check(self, request: RenderRequest, has_init_image: bool) -> None:
        multiple = self._model.limits.multiple
        for field, value in (("width", request.width), ("height", request.height)):
            if value % multiple or value <= 0:
                raise InvalidInput(f"{field} must be a multiple of {multiple}; {value} is not.", field=field)
        if has_init_image and self._model.img2img == "none":
            raise InvalidInput(f"{self._model.id} takes no input image.", field="image")
        refuse_start_sigma(request)
        refuse_mask(request)
        refuse_noise(request)
        if request.loras:
            self._context.adapters.check(request.loras)

    def encode(self, request: RenderRequest) -> None:
        """Do nothing: the pipeline encodes the prompt itself."""

    def cached_conditioning(self, request: RenderRequest) -> None:
        """Return None: nothing is cached."""

    def prepare_adapters(self, request: RenderRequest) -> None:
        """Do nothing: the first step activates them."""

    def start(self, request: RenderRequest, conditioning: None, init_image: bytes, mask: bytes = b"") -> StockSample:
        guidance = pipeline_guidance(self._model, request)
        options = self._options(request, guidance, init_image)
        pipeline = self._pipeline_for(bool(init_image))
        callback_state = CallbackState()
        return StockSample(
            request=request,
            steps=request.num_inference_steps if self.has_steps else 1,
            group=("stock", request.id),
            tokens=(request.width // 16) * (request.height // 16),
            pipeline_guidance_scale=guidance,
            pipeline=pipeline,
            call=SteppedCall(
                lambda checkpoint: self._call(pipeline, options, checkpoint if self.has_steps else None, callback_state)
            ),
            callback_state=callback_state,
        )

    def _call(
        self,
        pipeline: Pipeline,
        options: dict[str, Any],
        checkpoint: Callable[[], None] | None,
        callback_state: CallbackState,
    ) -> object:
        """Run on the call's own thread."""
        use_device(self._device)
        return _run_pipeline(pipeline, options, checkpoint, callback_state)

    def _pipeline_for(self, has_image: bool) -> Pipeline:
        if not has_image or self._model.img2img == "edit":
            return self._pipeline
        if self._image_to_image is None:
            self._image_to_image = AutoPipelineForImage2Image.from_pipe(self._pipeline)
        return self._image_to_image

    def _options(self, request: RenderRequest, guidance: float, init_image: bytes) -> dict[str, Any]:
        options: dict[str, Any] = {
            "prompt": request.prompt,
            "width": request.width,
            "height": request.height,
            "num_inference_steps": request.num_inference_steps,
            "generator": torch.Generator("cpu").manual_seed(request.seed),
        }
        if self._model.cfg == "true":
            options |= true_guidance(request, guidance)
        elif self._model.cfg != "none":
            options["guidance_scale"] = guidance
        if self._model.cfg != "true" and request.negative_prompt and "negative_prompt" in self._accepts:
            options["negative_prompt"] = request.negative_prompt
        if init_image:
            options |= self._image_options(request, init_image)
        return options

    def _image_options(self, request: RenderRequest, init_image: bytes) -> dict[str, Any]:
        if self._model.img2img == "edit":
            return {"image": open_reference(init_image)}  # The pipeline scales it without changing its shape.
        image = open_init_image(init_image, request.width, request.height)
        return {"image": image, "strength": strength_of(request)}

    def step(self, samples: Sequence[StockSample]) -> None:
        (sample,) = samples
        if sample.step == 0:
            self._context.use_adapters(sample.request.loras)
        with execution_mode(self._pipeline, sample.request):
            sample.call.resume()
        sample.step += 1
        # Some schedulers take another number of steps than requested.
        if sample.call.finished:
            sample.steps = sample.step
        elif sample.step == 1:
            sample.steps = getattr(sample.pipeline, "_num_timesteps", None) or sample.steps

    def decode(self, sample: StockSample) -> torch.Tensor:
        image = torch.from_numpy(sample.call.result())
        check_finite(image)
        return (image * 255).round().to(torch.uint8)

    @torch.no_grad()
    def preview(self, sample: StockSample) -> torch.Tensor | None:
        """Decode the latents with their remaining noise; None if their layout is unknown."""
        if self._preview is None or sample.callback_state.latents is None:
            return None
        width, height = sample.request.width, sample.request.height
        latents = to_vae_layout(sample.pipeline, sample.callback_state.latents, width, height)
        return None if latents is None else self._preview.pixels(latents)

    def close(self, sample: StockSample) -> None:
        """End the call. After an abort, free the device: diffusers' model offload does so only at the end of a full call."""
        was_aborted = sample.call.close()
        if was_aborted:
            self._pipeline.maybe_free_model_hooks()


def pipeline_guidance(model: CatalogueModel, request: RenderRequest) -> float:
    """Convert guidance to the scale that this pipeline uses."""
    if model.cfg == "offset":
        return max(request.guidance_scale - 1.0, 0.0)
    return request.guidance_scale


NO_NEGATIVE_PROMPT = " "
"""What Qwen-Image's authors pass where there is nothing to avoid: without a negative prompt its pipeline has no guidance."""


def true_guidance(request: RenderRequest, guidance: float) -> dict[str, Any]:
    """Return the options of a pipeline that guides by `true_cfg_scale`, and only with a negative prompt."""
    if guidance <= 1:
        return {"true_cfg_scale": guidance}
    return {"true_cfg_scale": guidance, "negative_prompt": request.negative_prompt or NO_NEGATIVE_PROMPT}


def _run_pipeline(
    pipeline: Pipeline, options: dict[str, Any], checkpoint: Callable[[], None] | None, callback_state: CallbackState
) -> object:
    """Return the image as an array, height x width x 3."""
    if checkpoint is None:
        return pipeline(**options, output_type="np").images[0]

    def at_step_end(_pipeline: Pipeline, _step: int, _timestep: object, tensors: dict[str, Any]) -> dict[str, Any]:
        callback_state.latents = tensors.get("latents")
        checkpoint()
        return tensors

    tensors = {"callback_on_step_end_tensor_inputs": ["latents"]} if passes_latents_to_callback(pipeline) else {}
    return pipeline(**options, **tensors, output_type="np", callback_on_step_end=at_step_end).images[0]
