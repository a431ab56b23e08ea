"""Prepare one Z-Image request: latents, sigmas, image-to-image, captions."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial

import torch
from diffusers import ZImageImg2ImgPipeline, ZImageInpaintPipeline
from diffusers.pipelines.z_image.pipeline_z_image import calculate_shift

from core.errors import InvalidInput
from core.render import RenderRequest
from worker.device.torch_device import to_device
from worker.init_image import open_init_image
from worker.models.libraries import Pipeline, Scheduler
from worker.models.z_image_transformer import Context
from worker.pipelines.family import Sample, strength_of
from worker.pipelines.inpainting import Inpainting, latent_mask, mask_of
from worker.pipelines.noise import generator_of, slerp


@dataclass(frozen=True)
class Start:
    """`latents`: noised, 1 x 16 x h/8 x w/8; `first`: index of the first step; `inpainting`: None without a mask."""

    latents: torch.Tensor
    first: int
    inpainting: Inpainting | None


class ImageToImage:
    """Uses the preparation of diffusers' image-to-image and inpainting pipelines over shared components."""

    def __init__(self, pipeline: Pipeline, device: torch.device) -> None:
        self._plain: Pipeline = ZImageImg2ImgPipeline(**pipeline.components)
        self._inpaint: Pipeline = ZImageInpaintPipeline(**pipeline.components)
        self._device = device

    def check(self, request: RenderRequest) -> None:
        strength = strength_of(request)
        if not 0 < strength <= 1:
            raise InvalidInput(f"strength must be above 0 and at most 1; {strength} is not.", field="strength")

    def start(
        self,
        request: RenderRequest,
        captions: Captions,
        data: bytes,
        mask: bytes,
        scheduler: Scheduler,
        generator: torch.Generator,
    ) -> Start:
        """Return where the sample starts; `scheduler` is set to its first step."""
        mixed_in = request.noise.mixed_in
        pipeline = self._inpaint if mask or mixed_in is not None else self._plain
        pipeline.scheduler = scheduler
        steps = request.num_inference_steps
        timesteps, left = pipeline.get_timesteps(steps, strength_of(request), self._device)
        if left < 1:
            raise InvalidInput(
                f"strength {strength_of(request)} leaves no step of {steps} to render: raise one of them.", field="strength"
            )
        image = pipeline.image_processor.preprocess(open_init_image(data, request.width, request.height))
        prepare = partial(
            pipeline.prepare_latents,
            image.to(dtype=torch.float32),
            timesteps[:1],
            1,
            pipeline.transformer.in_channels,
            request.height,
            request.width,
            captions.positive.dtype,
            self._device,
        )
        prepared = prepare(generator)
        if not mask and mixed_in is None:
            return Start(prepared, steps - left, None)
        latents, noise, image_latents = prepared
        if mixed_in is not None:
            _, other, _ = prepare(generator_of(mixed_in))
            noise = slerp(request.variation_strength, noise, other).to(noise)
            latents = scheduler.scale_noise(image_latents, timesteps[:1], noise)
        if not mask:
            return Start(latents, steps - left, None)
        # The pipeline goes on to encode the masked image too, but never uses it.
        small = latent_mask(mask_of(pipeline, mask, request), image_latents)
        return Start(latents, steps - left, Inpainting(small, image_latents, noise))


SEQUENCE_MULTIPLE = 32
"""The transformer pads captions and images to multiples of this many tokens."""
PIXELS_PER_TOKEN_SIDE = 16
_UNSUPPORTED_SCHEDULES = (
    "use_dynamic_shifting",
    "shift_terminal",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
)
"""Scheduler options that change sigmas by more than the constant shift that `sigmas_before_shift` inverts."""


def sigmas_before_shift(steps: int, start: float, shift: float) -> list[float]:
    """Return sigmas that the scheduler shifts so that the first is `start` (0..1); they fall evenly, with 0 after the last.

    The scheduler computes shift * s / (1 + (shift - 1) * s) for each. From 1.0 they equal ZImagePipeline's own, to the bit.
    """
    first = start / (shift - (shift - 1) * start)
    sigmas: list[float] = torch.linspace(first, first / steps, steps).tolist()
    return sigmas


def check_start_sigma(request: RenderRequest, scheduler: Scheduler, has_init_image: bool) -> None:
    """Raise InvalidInput for a start sigma that the request or the scheduler does not allow."""
    start = request.start_sigma
    if start is None:
        return
    if not has_init_image:
        raise InvalidInput("start_sigma is for image-to-image: send an input image with it.", field="start_sigma")
    if request.strength is not None:
        raise InvalidInput("start_sigma replaces strength: send only one of them.", field="start_sigma")
    if not 0 < start <= 1:
        raise InvalidInput(f"start_sigma must be above 0 and at most 1; {start} is not.", field="start_sigma")
    if any(scheduler.config.get(name) for name in _UNSUPPORTED_SCHEDULES):
        raise InvalidInput(
            "This model's scheduler cannot start at a given noise level: send strength instead.",
            field="start_sigma",
        )


@dataclass(frozen=True)
class Captions:
    """Embeddings, tokens x features; `negative` is None while guidance is off."""

    positive: torch.Tensor
    negative: torch.Tensor | None

    def all(self) -> list[torch.Tensor]:
        """Return the captions in the order in which ZImagePipeline batches a guidance pair."""
        return [self.positive] if self.negative is None else [self.positive, self.negative]


@dataclass(eq=False, kw_only=True)
class ZImageSample(Sample):
    """`latents`: 1 x 16 x height/8 x width/8, fp32 after a step. Each sample has its own scheduler.

    `contexts`: one per row, created by the first step.
    """

    latents: torch.Tensor
    captions: Captions
    scheduler: Scheduler
    timesteps: torch.Tensor
    inpainting: Inpainting | None = None
    prediction: torch.Tensor | None = None
    contexts: list[Context] | None = None

    def model_timestep(self) -> torch.Tensor:
        """Return the timestep, shape 1: 0 is pure noise, 1 the finished image."""
        return (1000 - self.timesteps[self.step].expand(1)) / 1000

    def guided(self, outputs: list[torch.Tensor]) -> torch.Tensor:
        """Return the noise prediction, 1 x 16 x h x w in fp32, from the model's outputs for this sample."""
        prediction = outputs[0].float()
        if len(outputs) == 2:
            prediction = prediction + self.pipeline_guidance_scale * (prediction - outputs[1].float())
        return -prediction.unsqueeze(0).squeeze(2)

    def advance(self, prediction: torch.Tensor) -> None:
        """Apply one Euler step, and with a mask restore the kept part at the noise level that it leads to."""
        latents = self.scheduler.step(prediction, self.timesteps[self.step], self.latents, return_dict=False)[0]
        if self.inpainting is not None:
            latents = self.inpainting.blend(latents, self._add_noise if self.step + 1 < self.steps else None)
        self.latents = latents
        self.prediction = prediction
        self.step += 1

    def _add_noise(self, image_latents: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        timestep = self.timesteps[self.step + 1].expand(1)
        noised: torch.Tensor = self.scheduler.scale_noise(image_latents, timestep, noise)
        return noised

    def estimate(self) -> torch.Tensor | None:
        """Return the finished latents as predicted by the last step; None before the first."""
        if self.prediction is None:
            return None
        estimate: torch.Tensor = self.latents - self.scheduler.sigmas[self.scheduler.step_index] * self.prediction
        return estimate if self.inpainting is None else self.inpainting.blend(estimate, None)


def sequence_tokens(width: int, height: int, caption_tokens: int) -> int:
    """Return the length of the unified sequence: image and caption, each padded as the transformer pads them."""
    image = (width // PIXELS_PER_TOKEN_SIDE) * (height // PIXELS_PER_TOKEN_SIDE)
    return _padded(image) + _padded(caption_tokens)


def _padded(tokens: int) -> int:
    return -(-tokens // SEQUENCE_MULTIPLE) * SEQUENCE_MULTIPLE


def scheduler_for(shared: Scheduler, request: RenderRequest, device: torch.device) -> tuple[Scheduler, list[float]]:
    """Return a sample's scheduler, set up as ZImagePipeline does, at step 0 and on the device, and its sigmas.

    The sigmas are read on the host: reading them from a GPU would wait for all of its queued work.
    """
    scheduler = copy.copy(shared)
    config = scheduler.config
    shift = calculate_shift(
        (request.width // PIXELS_PER_TOKEN_SIDE) * (request.height // PIXELS_PER_TOKEN_SIDE),
        config.get("base_image_seq_len", 256),
        config.get("max_image_seq_len", 4096),
        config.get("base_shift", 0.5),
        config.get("max_shift", 1.15),
    )
    steps = request.num_inference_steps
    sigmas = sigmas_before_shift(steps, 1.0 if request.start_sigma is None else request.start_sigma, scheduler.shift)
    scheduler.set_timesteps(steps, device="cpu", sigmas=sigmas, mu=shift)
    scheduler.set_begin_index(0)
    schedule: list[float] = scheduler.sigmas.tolist()
    scheduler.sigmas, scheduler.timesteps = to_device(scheduler.sigmas, device), to_device(scheduler.timesteps, device)
    return scheduler, schedule
