"""Image-to-image for Z-Image: start from an image with noise added, by strength or by noise level."""

from __future__ import annotations

import torch
from diffusers import ZImageImg2ImgPipeline

from core.errors import InvalidInput
from core.render import RenderRequest
from worker.init_image import open_init_image
from worker.models.libraries import Pipeline, Scheduler
from worker.pipelines.family import strength_of
from worker.pipelines.z_image.sample import Captions


class ImageToImage:
    """Uses the preparation of diffusers' image-to-image pipeline over shared components."""

    def __init__(self, pipeline: Pipeline, device: torch.device) -> None:
        self._pipeline: Pipeline = ZImageImg2ImgPipeline(**pipeline.components)
        self._device = device

    def check(self, request: RenderRequest) -> None:
        strength = strength_of(request)
        if not 0 < strength <= 1:
            raise InvalidInput(f"strength must be above 0 and at most 1; {strength} is not.", field="strength")

    def start(
        self, request: RenderRequest, captions: Captions, data: bytes, scheduler: Scheduler, generator: torch.Generator
    ) -> tuple[torch.Tensor, int]:
        """Return noised latents, 1 x 16 x h/8 x w/8, and the index of the first step; `scheduler` is set to it."""
        self._pipeline.scheduler = scheduler
        steps = request.num_inference_steps
        timesteps, left = self._pipeline.get_timesteps(steps, strength_of(request), self._device)
        if left < 1:
            raise InvalidInput(
                f"strength {strength_of(request)} leaves no step of {steps} to render: raise one of them.", field="strength"
            )
        image = self._pipeline.image_processor.preprocess(open_init_image(data, request.width, request.height))
        latents = self._pipeline.prepare_latents(
            image.to(dtype=torch.float32),
            timesteps[:1],
            1,
            self._pipeline.transformer.in_channels,
            request.height,
            request.width,
            captions.positive.dtype,
            self._device,
            generator,
        )
        return latents, steps - left
