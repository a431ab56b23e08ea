"""Latents to a picture, as the Stable Diffusion pipelines do it."""

from __future__ import annotations

import torch

from worker.pipelines.stable_diffusion.text import is_xl
from worker.pipelines.untyped import Pipeline, Vae
from worker.pipelines.upcasting import without_overflow


def decode_latents(pipeline: Pipeline, latents: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """1 x 3 x height x width, about -1..1."""
    vae = pipeline.vae
    if not is_xl(pipeline):
        image: torch.Tensor = vae.decode(latents / vae.config.scaling_factor, return_dict=False, generator=generator)[0]
        return image
    return _decode_xl(vae, latents)


def _decode_xl(vae: Vae, latents: torch.Tensor) -> torch.Tensor:
    with without_overflow(vae):
        latents = latents.to(vae.dtype)
        image: torch.Tensor = vae.decode(_unscaled(vae, latents), return_dict=False)[0]
        return image


def _unscaled(vae: Vae, latents: torch.Tensor) -> torch.Tensor:
    mean, std = getattr(vae.config, "latents_mean", None), getattr(vae.config, "latents_std", None)
    if mean is None or std is None:
        unscaled: torch.Tensor = latents / vae.config.scaling_factor
        return unscaled
    shape = (1, len(mean), 1, 1)
    mean_tensor = torch.tensor(mean).view(shape).to(latents.device, latents.dtype)
    std_tensor = torch.tensor(std).view(shape).to(latents.device, latents.dtype)
    shifted: torch.Tensor = latents * std_tensor / vae.config.scaling_factor + mean_tensor
    return shifted
