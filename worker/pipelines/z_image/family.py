"""The Z-Image family: any mix of sizes, step counts and guidance in one forward pass of the stock transformer."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial

import torch

from core.errors import InvalidInput
from core.render import RenderRequest
from worker.device.torch_device import to_device
from worker.models.libraries import Pipeline, Scheduler
from worker.pipelines.decoding import LatentPreview, to_pixels
from worker.pipelines.embedding_cache import EmbeddingCache
from worker.pipelines.execution_mode import execution_mode, runs_uncompiled
from worker.pipelines.family import FamilyContext
from worker.pipelines.inpainting import check_mask
from worker.pipelines.noise import NoiseShape, check_noise, generator_of, starting_noise
from worker.pipelines.z_image import text
from worker.pipelines.z_image.denoiser import Denoiser
from worker.pipelines.z_image.sample import (
    Captions,
    ImageToImage,
    Start,
    ZImageSample,
    check_start_sigma,
    scheduler_for,
    sequence_tokens,
)
from worker.pipelines.z_image.text import CaptionKey, encode_caption


class ZImageFamily:
    """Renders Z-Image; a sample alone in its pass is bit-identical to ZImagePipeline on the same stack."""

    name = "z-image"
    max_samples: int | None = None
    has_steps = True
    can_overlap_decode = True
    can_overlap_encode = True

    def __init__(self, loaded: FamilyContext) -> None:
        self._context = loaded
        self._pipeline: Pipeline = loaded.pipeline
        self._vae_dtype: torch.dtype = self._pipeline.vae.dtype
        self._device = loaded.device
        self._text_device = loaded.text_device
        encoder = self._pipeline.text_encoder  # None where only the denoiser is run, such as in a benchmark.
        self._text_parameters = sum(each.numel() for each in encoder.parameters()) if encoder is not None else 0
        self._embeddings = EmbeddingCache[torch.Tensor](lambda caption: caption.nbytes)
        self._denoiser = Denoiser(self._pipeline.transformer)
        self._image_to_image = ImageToImage(self._pipeline, self._device)
        self._preview = LatentPreview(self._pipeline.vae, self._pipeline.transformer.config.in_channels)

    def check(self, request: RenderRequest, has_init_image: bool) -> None:
        for field, value in (("width", request.width), ("height", request.height)):
            if value % 16 or value <= 0:
                raise InvalidInput(f"{field} must be a multiple of 16; {value} is not.", field=field)
        if request.num_inference_steps < 1:
            raise InvalidInput("num_inference_steps must be at least 1.", field="num_inference_steps")
        if request.loras:
            self._context.adapters.check(request.loras)
        check_start_sigma(request, self._pipeline.scheduler, has_init_image)
        if has_init_image:
            self._image_to_image.check(request)
        if request.has_mask:
            check_mask(has_init_image)
        check_noise(request, has_init_image)

    @torch.no_grad()
    def encode(self, request: RenderRequest) -> Captions:
        positive, *negative = [self._embeddings.get(key, partial(self._caption, key)) for key in self._keys(request)]
        return Captions(positive, negative[0] if negative else None)

    def cached_conditioning(self, request: RenderRequest) -> Captions | None:
        found = [caption for key in self._keys(request) if (caption := self._embeddings.peek(key)) is not None]
        if len(found) < len(self._keys(request)):
            return None
        return Captions(found[0], found[1] if len(found) > 1 else None)

    def prepare_adapters(self, request: RenderRequest) -> None:
        self._context.use_adapters(request.loras)

    def _keys(self, request: RenderRequest) -> list[CaptionKey]:
        """Return the keys of the prompt and, with guidance, of the negative prompt."""
        padded = self._pads_captions(request)
        prompts = [request.prompt, *([request.negative_prompt] if pipeline_guidance(request) > 0 else [])]
        return [CaptionKey(prompt, request.loras, padded) for prompt in prompts]

    def _pads_captions(self, request: RenderRequest) -> bool:
        """Return whether captions are encoded as the pipeline does, padded to 512 tokens, which takes a CPU seconds."""
        if request.strict:
            return True
        if self._text_device.type == "cpu" and self._text_parameters >= text.EXACT_FROM_PARAMETERS:
            return False
        return self._text_device.type == self._device.type and not self._is_compiled_for(request)

    def _is_compiled_for(self, request: RenderRequest) -> bool:
        """Return whether compiled blocks run: bits differ from stock anyway, and padding costs a GPU some 6 ms a prompt."""
        return not runs_uncompiled(request) and getattr(self._pipeline.transformer, "has_compiled_blocks", False)

    def _caption(self, key: CaptionKey) -> torch.Tensor:
        self._context.use_adapters(key.loras)  # Some change the text encoder.
        # The copy runs on the device's default stream, where the steps run too, and has ended on return: it is complete
        # before its first use, whichever thread made it.
        return encode_caption(self._pipeline, key.prompt, self._text_device, key.padded).to(self._device)

    @torch.no_grad()
    def start(self, request: RenderRequest, conditioning: Captions, init_image: bytes, mask: bytes = b"") -> ZImageSample:
        generator = generator_of(request.noise.generator_seed)
        scheduler, schedule = scheduler_for(self._pipeline.scheduler, request, self._device)
        if init_image:
            start = self._image_to_image.start(request, conditioning, init_image, mask, scheduler, generator)
        else:
            shape = NoiseShape(self._pipeline.transformer.in_channels, 8, torch.float32)
            start = Start(to_device(starting_noise(request.noise, generator, shape), self._device), 0, None)
        sample = _sample(request, conditioning, scheduler, schedule[start.first :], start)
        sample.notes.update(self._context.decoder_notes(request) | self._context.text_notes())
        if not self._pads_captions(request):
            sample.notes["captions"] = "exact length"
        return sample

    @torch.no_grad()
    def step(self, samples: Sequence[ZImageSample]) -> None:
        self._context.use_adapters(samples[0].request.loras)
        with execution_mode(self._pipeline, samples[0].request):
            outputs = iter(self._denoiser.predict(samples))
        predictions = [sample.guided([next(outputs) for _ in sample.captions.all()]) for sample in samples]
        for sample, prediction in zip(samples, predictions, strict=True):
            sample.advance(prediction)

    @torch.no_grad()
    def decode(self, sample: ZImageSample) -> torch.Tensor:
        if (tiny := self._context.decoder_for(sample.request)) is not None:
            return to_pixels(tiny.decode(sample.latents), sample.latents)
        vae = self._pipeline.vae
        latents = sample.latents.to(self._vae_dtype)
        latents = (latents / vae.config.scaling_factor) + vae.config.shift_factor
        return to_pixels(vae.decode(latents, return_dict=False)[0], sample.latents)

    @torch.no_grad()
    def preview(self, sample: ZImageSample) -> torch.Tensor | None:
        estimate = sample.estimate()
        return None if estimate is None else self._preview.pixels(estimate)

    def close(self, sample: ZImageSample) -> None:
        """Do nothing: a sample holds no state outside of itself."""


def _sample(
    request: RenderRequest, captions: Captions, scheduler: Scheduler, schedule: list[float], start: Start
) -> ZImageSample:
    """Build a sample. `schedule`: sigmas of the remaining steps, and the last one's end."""
    lengths = [sequence_tokens(request.width, request.height, len(caption)) for caption in captions.all()]
    steps = len(schedule) - 1
    return ZImageSample(
        request=request,
        steps=steps,
        group=_group(request, lengths),
        tokens=sum(lengths),
        pipeline_guidance_scale=pipeline_guidance(request),
        schedule=schedule,
        latents=start.latents,
        inpainting=start.inpainting,
        captions=captions,
        scheduler=scheduler,
        timesteps=scheduler.timesteps[-steps:],
    )


def pipeline_guidance(request: RenderRequest) -> float:
    """Convert to ZImagePipeline's scale, where 0 is off: pos + g * (pos - neg)."""
    return max(request.guidance_scale - 1.0, 0.0)


def _group(request: RenderRequest, lengths: list[int]) -> Hashable:
    """Return the group key: equal lengths need no attention mask; a pair of unequal lengths is masked in any batch."""
    if request.strict:
        return ("strict", request.id)
    return (tuple(sorted(set(lengths))), request.loras)
