"""Convert latents to pixels: previews, VAE overflow guard, finiteness check, uint8 conversion."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn import functional

from core.errors import RenderError
from worker.models.libraries import Vae

FIT_LATENTS = 24
"""Side of the random latents that the preview's map is fitted on; 24 latents are 192 pixels."""
COARSE_LATENTS = 6
"""Side of the smooth part of these latents, before it is enlarged."""


@contextmanager
def upcast_while_decoding(vae: Vae) -> Iterator[None]:
    """Raise SDXL's VAE to fp32 within the block: it overflows in fp16, as its configuration states."""
    upcast = vae.dtype == torch.float16 and getattr(vae.config, "force_upcast", False)
    if upcast:
        vae.to(dtype=torch.float32)
    try:
        yield
    finally:
        if upcast:
            vae.to(dtype=torch.float16)


def check_finite(*tensors: torch.Tensor) -> None:
    """Raise RenderError `non_finite_latents` for NaN or infinity; synchronises once with the device."""
    # A NaN anywhere makes both extremes NaN; on a CPU this is about twenty times faster than testing each number.
    extremes = [extreme.float() for tensor in tensors for extreme in torch.aminmax(tensor)]
    if not bool(torch.isfinite(torch.stack(extremes)).all()):
        raise RenderError(
            "The numbers of this render overflowed (NaN or infinity), so there is no image. "
            "The same request would fail again: change the seed, size or guidance.",
            code="non_finite_latents",
        )


def to_pixels(image: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    """Convert a decoded image (1 x 3 x height x width, about -1..1) to uint8, height x width x 3, on the same device.

    Rounds as diffusers' VaeImageProcessor does: in the image's dtype to 0..1, then in fp32 to 0..255, halves to even.
    Also runs `check_finite` on the `latents`: a VAE can turn overflowed latents into finite pixels.
    """
    check_finite(latents, image)
    scaled = (image[0] * 0.5 + 0.5).clamp(0, 1).permute(1, 2, 0).float()
    return scaled.mul_(255).round_().to(torch.uint8).contiguous()


def to_bytes(pixels: torch.Tensor) -> bytes:
    """Return RGB8, row by row; synchronises with the device."""
    return pixels.cpu().numpy().tobytes()


def decodes_frames(vae: Vae) -> bool:
    """Return whether the VAE is made for videos: its latents have frames, and a mean and deviation for each channel."""
    return hasattr(vae.config, "z_dim")


def _decoded(vae: Vae, latents: torch.Tensor) -> torch.Tensor:
    """Undo the scaling of a transformer's latents (1 x channels x h x w) and decode them to 1 x 3 x height x width."""
    config = vae.config
    if not decodes_frames(vae):
        scaled = latents / (getattr(config, "scaling_factor", None) or 1.0) + (getattr(config, "shift_factor", None) or 0.0)
        image: torch.Tensor = vae.decode(scaled.to(vae.dtype), return_dict=False)[0]
        return image
    mean, deviation = (latents.new_tensor(values).view(1, -1, 1, 1) for values in (config.latents_mean, config.latents_std))
    frames: torch.Tensor = vae.decode((latents * deviation + mean).unsqueeze(2).to(vae.dtype), return_dict=False)[0]
    return frames[:, :, 0]


class LatentPreview:
    """A linear map from latents to RGB, fitted on first use by one small decode; colours are approximate.

    Its resolution is that of the latents. A VAE without a scaling factor takes latents unscaled.
    """

    def __init__(self, vae: Vae, channels: int) -> None:
        self._vae = vae
        self._channels = channels
        self._map: torch.Tensor | None = None

    @torch.no_grad()
    def pixels(self, latents: torch.Tensor) -> torch.Tensor:
        """Return uint8, h x w x 3, for the transformer's latents (1 x channels x h x w); one pixel per latent."""
        fitted = self._fitted(latents.device)
        flat = latents[0].float().flatten(1).T
        rgb = flat @ fitted[:-1] + fitted[-1]
        height, width = latents.shape[-2:]
        return ((rgb * 0.5 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).view(height, width, 3)

    def _fitted(self, device: torch.device) -> torch.Tensor:
        if self._map is None:
            self._map = self._fit(device)
        return self._map

    def _fit(self, device: torch.device) -> torch.Tensor:
        """Fit (channels + 1) x 3 by least squares between random latents, coarse and fine, and their decoded image."""
        latents = self._examples().to(device)
        with upcast_while_decoding(self._vae):
            image = _decoded(self._vae, latents).float()
        target = functional.adaptive_avg_pool2d(image, (FIT_LATENTS, FIT_LATENTS)).permute(0, 2, 3, 1).reshape(-1, 3).cpu()
        inputs = latents.float().permute(0, 2, 3, 1).reshape(-1, self._channels).cpu()
        inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
        solution: torch.Tensor = torch.linalg.lstsq(inputs, target).solution
        return solution.to(device)

    def _examples(self) -> torch.Tensor:
        generator = torch.Generator("cpu").manual_seed(0)
        fine = torch.randn((1, self._channels, FIT_LATENTS, FIT_LATENTS), generator=generator)
        coarse = torch.randn((1, self._channels, COARSE_LATENTS, COARSE_LATENTS), generator=generator)
        return functional.interpolate(coarse, size=(FIT_LATENTS, FIT_LATENTS), mode="bicubic") + 0.2 * fine
