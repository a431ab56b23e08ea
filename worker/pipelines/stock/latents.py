"""What a stock pipeline's callback shows of its latents, brought into the shape that its VAE decodes."""

from __future__ import annotations

import inspect

import torch

from worker.pipelines.untyped import Pipeline

_FLUX = ("latents", "height", "width", "vae_scale_factor")
_FLUX_2 = ("_unpack_latents_with_ids", "_prepare_latent_ids", "_unpatchify_latents")


def offers_latents(pipeline: Pipeline) -> bool:
    """Whether its step callback can be given the latents."""
    return "latents" in getattr(pipeline, "_callback_tensor_inputs", ())


def channels_of(pipeline: Pipeline) -> int | None:
    """Of the latents that its VAE decodes; None when it does not say."""
    config = getattr(getattr(pipeline, "vae", None), "config", None)
    channels: int | None = getattr(config, "latent_channels", None)
    return channels


def as_decoded(pipeline: Pipeline, latents: torch.Tensor, width: int, height: int) -> torch.Tensor | None:
    """1 x channels x h x w, for a picture of that size in pixels; None for a layout that only the pipeline knows."""
    found = latents if latents.ndim == 4 else _unpacked(pipeline, latents, width, height)
    return found if found is not None and found.ndim == 4 and found.shape[1] == channels_of(pipeline) else None


def _unpacked(pipeline: Pipeline, latents: torch.Tensor, width: int, height: int) -> torch.Tensor | None:
    """From batch x tokens x channels, by what the pipeline itself uses before it decodes."""
    if latents.ndim != 3:
        return None
    if all(hasattr(pipeline, name) for name in _FLUX_2) and hasattr(pipeline.vae, "bn"):
        return _flux_2(pipeline, latents, width, height)
    unpack = getattr(pipeline, "_unpack_latents", None)
    if unpack is None or tuple(inspect.signature(unpack).parameters) != _FLUX:
        return None
    unpacked: torch.Tensor = unpack(latents, height, width, pipeline.vae_scale_factor)
    return unpacked


def _flux_2(pipeline: Pipeline, latents: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """FLUX.2 packs 2x2 latents into a token and normalises them with its VAE's batch norm."""
    side = pipeline.vae_scale_factor * 2
    rows, columns = height // side, width // side
    ids = pipeline._prepare_latent_ids(latents.new_empty(1, 1, rows, columns)).to(latents.device)
    packed = pipeline._unpack_latents_with_ids(latents, ids, rows, columns)
    norm = pipeline.vae.bn
    deviation = torch.sqrt(norm.running_var.view(1, -1, 1, 1) + pipeline.vae.config.batch_norm_eps)
    mean = norm.running_mean.view(1, -1, 1, 1)
    unpacked: torch.Tensor = pipeline._unpatchify_latents(packed * deviation.to(packed) + mean.to(packed))
    return unpacked
