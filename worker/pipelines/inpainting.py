"""Blend the kept part of an image into the latents after each step, as diffusers' inpainting pipelines do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from core.errors import InvalidInput
from core.render import RenderRequest
from worker.mask import open_mask
from worker.models.libraries import Pipeline

AddNoise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Takes image latents and noise; returns the latents at the noise level of the next step."""


@dataclass(frozen=True)
class Inpainting:
    """What one sample blends in, on the device. `mask`: 1 x 1 x h x w, 1 is repainted; the others: 1 x channels x h x w."""

    mask: torch.Tensor
    image_latents: torch.Tensor
    noise: torch.Tensor

    def blend(self, latents: torch.Tensor, add_noise: AddNoise | None) -> torch.Tensor:
        """Return `latents` with the kept part replaced; `add_noise` is None after the last step, whose latents have none."""
        kept = self.image_latents if add_noise is None else add_noise(self.image_latents, self.noise)
        return (1 - self.mask) * kept + self.mask * latents


def check_mask(has_init_image: bool) -> None:
    """Raise InvalidInput for a request with a mask and without an image."""
    if not has_init_image:
        raise InvalidInput("A mask is for inpainting: send an input image with it.", field="mask")


def refuse_mask(request: RenderRequest) -> None:
    """Raise InvalidInput, for models that cannot repaint a part of an image."""
    if request.has_mask:
        raise InvalidInput("This model cannot repaint a part of an image: send no mask.", field="mask")


def mask_of(pipeline: Pipeline, data: bytes, request: RenderRequest) -> torch.Tensor:
    """Return the encoded mask as the inpainting pipeline prepares it: 1 x 1 x height x width on the host, 0 or 1."""
    image = open_mask(data, request.width, request.height)
    mask: torch.Tensor = pipeline.mask_processor.preprocess(image, height=request.height, width=request.width)
    return mask


def latent_mask(mask: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    """Return the mask at the size, on the device and in the dtype of the latents, from the first pixel under each.

    Raise InvalidInput when that leaves nothing to repaint.
    """
    small = functional.interpolate(mask, size=latents.shape[-2:], mode="nearest")
    if not bool(small.any()):  # On the host: no wait for the device.
        raise InvalidInput(
            "The white areas of the mask are too thin to repaint: make them at least 8 pixels wide in the finished image.",
            field="mask",
        )
    return small.to(device=latents.device, dtype=latents.dtype)
