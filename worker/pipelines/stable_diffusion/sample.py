"""State of one Stable Diffusion render, prepared as the stock pipelines prepare it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from diffusers import (
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
)

from core.errors import InvalidInput
from core.render import RenderRequest
from worker.device.torch_device import to_device
from worker.init_image import open_init_image
from worker.models.libraries import Pipeline, Scheduler
from worker.pipelines.family import Sample, strength_of
from worker.pipelines.inpainting import Inpainting, check_mask, latent_mask, mask_of
from worker.pipelines.noise import NoiseShape, check_noise, generator_of, slerp, starting_noise
from worker.pipelines.stable_diffusion.text import Conditioning, is_xl


@dataclass(eq=False, kw_only=True)
class UNetSample(Sample):
    """`latents`: 1 x channels x height/8 x width/8 in the model's dtype. Each sample has its own scheduler.

    `time_ids`: rows x 6, XL only. `guidance_embedding`: for UNets with guidance in their time embedding, else None.
    `step_options` are passed to each of the scheduler's steps: the generator, if it draws noise.
    """

    latents: torch.Tensor
    conditioning: Conditioning
    scheduler: Scheduler
    timesteps: torch.Tensor
    step_options: Mapping[str, object]
    generator: torch.Generator
    time_ids: torch.Tensor | None = None
    guidance_embedding: torch.Tensor | None = None
    inpainting: Inpainting | None = None
    estimate: torch.Tensor | None = None

    @property
    def timestep(self) -> torch.Tensor:
        """The scheduler's value for the next step."""
        return self.timesteps[self.step]

    def model_input(self) -> torch.Tensor:
        """Return the UNet's input, rows x channels x h x w."""
        latents = torch.cat([self.latents] * self.conditioning.rows)
        scaled: torch.Tensor = self.scheduler.scale_model_input(latents, self.timestep)
        return scaled

    def advance(self, outputs: torch.Tensor) -> None:
        """Run one scheduler step on the UNet's output rows for this sample, and with a mask restore the kept part."""
        prediction = outputs
        if self.conditioning.rows == 2:
            negative, positive = outputs.chunk(2)
            prediction = negative + self.pipeline_guidance_scale * (positive - negative)
        result = self.scheduler.step(prediction, self.timestep, self.latents, **self.step_options)
        estimate = getattr(result, "pred_original_sample", None)
        self.estimate = estimate if estimate is not None else getattr(result, "denoised", None)
        latents = result.prev_sample
        if self.inpainting is not None:
            latents = self.inpainting.blend(latents, self._add_noise if self.step + 1 < self.steps else None)
            self.estimate = None if self.estimate is None else self.inpainting.blend(self.estimate, None)
        self.latents = latents
        self.step += 1

    def _add_noise(self, image_latents: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        noised: torch.Tensor = self.scheduler.add_noise(image_latents, noise, self.timesteps[self.step + 1].reshape(1))
        return noised


@dataclass(frozen=True)
class PreparedSample:
    """The prepared fields of a `UNetSample`."""

    latents: torch.Tensor
    scheduler: Scheduler
    timesteps: torch.Tensor
    step_options: Mapping[str, object]
    generator: torch.Generator
    time_ids: torch.Tensor | None
    guidance_embedding: torch.Tensor | None
    inpainting: Inpainting | None


class NoiseParts:
    """In place of a scheduler, keep what an image-to-image pipeline would mix: its noise and the image's latents."""

    noise: torch.Tensor
    image_latents: torch.Tensor

    def add_noise(self, image_latents: torch.Tensor, noise: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        self.image_latents, self.noise = image_latents, noise
        return image_latents


UNET_CHANNELS = 4
"""Input channels of a UNet that takes latents alone."""


class SamplePreparer:
    """`_image_to_image_pipeline` and `_inpaint_pipeline` share the pipeline's components and prepare images and masks."""

    def __init__(self, pipeline: Pipeline, device: torch.device) -> None:
        self._pipeline = pipeline
        self._device = device
        self._is_xl = is_xl(pipeline)
        self._image_to_image_pipeline = _image_to_image(pipeline)
        self._inpaint_pipeline = _inpaint(pipeline)

    def check(self, request: RenderRequest, has_init_image: bool) -> None:
        """Raise InvalidInput for a step count that the scheduler does not support, or a strength that leaves no step."""
        steps = request.num_inference_steps
        if steps < 1:
            raise InvalidInput("num_inference_steps must be at least 1.", field="num_inference_steps")
        channels = self._pipeline.unet.config.in_channels
        if channels != UNET_CHANNELS:
            raise InvalidInput(
                f"This model's UNet has {channels} input channels: it was trained for another task, such as inpainting with "
                "a mask as input, and cannot be used here. Choose the model it was made from: that takes masks too.",
                field="model",
            )
        if request.has_mask:
            check_mask(has_init_image)
        check_noise(request, has_init_image)
        if not has_init_image:
            return
        strength = strength_of(request)
        if not 0 < strength <= 1:
            raise InvalidInput(f"strength must be above 0 and at most 1; {strength} is not.", field="strength")
        if int(steps * strength) < 1:
            raise InvalidInput(f"strength {strength} leaves no step of {steps}: raise one of them.", field="strength")

    def prepare(self, request: RenderRequest, conditioning: Conditioning, init_image: bytes, mask: bytes) -> PreparedSample:
        generator = generator_of(request.noise.generator_seed)
        scheduler = self._scheduler(request.num_inference_steps)
        dtype = conditioning.embeddings.dtype
        inpainting = None
        if mask:
            latents, timesteps, inpainting = self._from_masked_image(request, init_image, mask, scheduler, generator, dtype)
        elif init_image:
            latents, timesteps = self._from_image(request, init_image, scheduler, generator, dtype)
        else:
            latents, timesteps = self._from_noise(request, scheduler, generator, dtype), scheduler.timesteps
        return PreparedSample(
            latents=latents,
            scheduler=scheduler,
            timesteps=timesteps,
            step_options=self._pipeline.prepare_extra_step_kwargs(generator, 0.0),
            generator=generator,
            time_ids=self._time_ids(request, conditioning) if self._is_xl else None,
            guidance_embedding=self._guidance_embedding(request, dtype),
            inpainting=inpainting,
        )

    def _scheduler(self, steps: int) -> Scheduler:
        shared = self._pipeline.scheduler
        scheduler = type(shared).from_config(shared.config)
        try:
            scheduler.set_timesteps(steps, device=self._device)
        except ValueError as error:
            raise InvalidInput(
                f"{type(scheduler).__name__} cannot do {steps} steps: {error}", field="num_inference_steps"
            ) from error
        return scheduler

    def _from_noise(
        self, request: RenderRequest, scheduler: Scheduler, generator: torch.Generator, dtype: torch.dtype
    ) -> torch.Tensor:
        factor = self._pipeline.vae_scale_factor
        shape = NoiseShape(self._pipeline.unet.config.in_channels, factor, dtype)
        noise = to_device(starting_noise(request.noise, generator, shape).to(dtype), self._device)
        if self._is_xl and hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
        latents: torch.Tensor = noise * scheduler.init_noise_sigma
        return latents

    def _from_image(
        self,
        request: RenderRequest,
        data: bytes,
        scheduler: Scheduler,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self._image_to_image_pipeline.scheduler = scheduler
        timesteps, _ = self._image_to_image_pipeline.get_timesteps(
            request.num_inference_steps, strength_of(request), self._device
        )
        image = self._image_to_image_pipeline.image_processor.preprocess(
            open_init_image(data, request.width, request.height)
        )
        prepare = partial(self._image_to_image_pipeline.prepare_latents, image, timesteps[:1], 1, 1, dtype, self._device)
        if (mixed_in := request.noise.mixed_in) is None:
            return prepare(generator), timesteps
        parts = NoiseParts()
        self._image_to_image_pipeline.scheduler = parts
        prepare(generator_of(mixed_in))
        other = parts.noise
        prepare(generator)
        noise = slerp(request.variation_strength, parts.noise, other).to(parts.noise)
        return scheduler.add_noise(parts.image_latents, noise, timesteps[:1]), timesteps

    def _from_masked_image(
        self,
        request: RenderRequest,
        data: bytes,
        mask_data: bytes,
        scheduler: Scheduler,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> tuple[torch.Tensor, torch.Tensor, Inpainting]:
        """Prepare as the inpainting pipelines do for a UNet that takes latents alone."""
        pipeline, strength = self._inpaint_pipeline, strength_of(request)
        pipeline.scheduler = scheduler
        timesteps, _ = pipeline.get_timesteps(request.num_inference_steps, strength, self._device)
        height, width = request.height, request.width
        image = pipeline.image_processor.preprocess(open_init_image(data, width, height), height=height, width=width)
        image = image.to(torch.float32)
        prepare = partial(
            pipeline.prepare_latents,
            1,
            pipeline.vae.config.latent_channels,
            height,
            width,
            dtype,
            self._device,
            image=image,
            timestep=timesteps[:1],
            is_strength_max=strength == 1.0,
            return_noise=True,
            return_image_latents=True,
        )
        latents, noise, image_latents = prepare(generator=generator)
        if (mixed_in := request.noise.mixed_in) is not None:
            _, other, _ = prepare(generator=generator_of(mixed_in))
            noise = slerp(request.variation_strength, noise, other).to(noise)
            latents = noise * scheduler.init_noise_sigma
            if strength < 1:
                latents = scheduler.add_noise(image_latents, noise, timesteps[:1])
        mask = mask_of(pipeline, mask_data, request)
        small = latent_mask(mask, latents)
        # Its result serves other UNets, but it draws from the generator, which some schedulers use at each step.
        pipeline.prepare_mask_latents(mask, image * (mask < 0.5), 1, height, width, dtype, self._device, generator, False)
        return latents, timesteps, Inpainting(small, image_latents, noise)

    def _time_ids(self, request: RenderRequest, conditioning: Conditioning) -> torch.Tensor:
        """Return rows x 6: original and target size of the image, uncropped."""
        size = (request.height, request.width)
        ids = torch.tensor([[*size, 0, 0, *size]], dtype=conditioning.embeddings.dtype)
        return ids.repeat(conditioning.rows, 1).to(self._device)

    def _guidance_embedding(self, request: RenderRequest, dtype: torch.dtype) -> torch.Tensor | None:
        width = self._pipeline.unet.config.time_cond_proj_dim
        if width is None:
            return None
        scale = torch.tensor(request.guidance_scale - 1).repeat(1)
        embedding: torch.Tensor = self._pipeline.get_guidance_scale_embedding(scale, embedding_dim=width)
        return embedding.to(device=self._device, dtype=dtype)


def _image_to_image(pipeline: Pipeline) -> Pipeline:
    if is_xl(pipeline):
        return StableDiffusionXLImg2ImgPipeline(**pipeline.components, add_watermarker=False)
    return StableDiffusionImg2ImgPipeline(**pipeline.components, requires_safety_checker=False)


def _inpaint(pipeline: Pipeline) -> Pipeline:
    if is_xl(pipeline):
        return StableDiffusionXLInpaintPipeline(**pipeline.components, add_watermarker=False)
    return StableDiffusionInpaintPipeline(**pipeline.components, requires_safety_checker=False)
