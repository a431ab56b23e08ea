"""A quick look at a picture that is still latents: a linear map from latent channels to RGB, fitted to the VAE itself."""

from __future__ import annotations

import torch
from torch.nn import functional

from worker.pipelines.untyped import Vae
from worker.pipelines.upcasting import without_overflow

FIT_LATENTS = 24
"""Side of the random latents that the map is fitted on; 24 latents are 192 pixels."""
COARSE = 6


class LatentPreview:
    """Fitted on first use: one small decode. Colours are approximate, shapes are as coarse as the latents.

    A VAE without a scaling factor takes latents as they are.
    """

    def __init__(self, vae: Vae, channels: int) -> None:
        self._vae = vae
        self._channels = channels
        self._map: torch.Tensor | None = None

    @torch.no_grad()
    def pixels(self, latents: torch.Tensor) -> torch.Tensor:
        """uint8, h x w x 3, for latents as the transformer sees them (1 x channels x h x w); one pixel per latent."""
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
        """(channels + 1) x 3: least squares between random latents, coarse and fine, and what the VAE paints of them."""
        latents = self._examples().to(device)
        config = self._vae.config
        scaled = latents / (getattr(config, "scaling_factor", None) or 1.0) + (getattr(config, "shift_factor", None) or 0.0)
        with without_overflow(self._vae):
            image = self._vae.decode(scaled.to(self._vae.dtype), return_dict=False)[0].float()
        target = functional.adaptive_avg_pool2d(image, (FIT_LATENTS, FIT_LATENTS)).permute(0, 2, 3, 1).reshape(-1, 3).cpu()
        inputs = latents.float().permute(0, 2, 3, 1).reshape(-1, self._channels).cpu()
        inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
        solution: torch.Tensor = torch.linalg.lstsq(inputs, target).solution
        return solution.to(device)

    def _examples(self) -> torch.Tensor:
        generator = torch.Generator("cpu").manual_seed(0)
        fine = torch.randn((1, self._channels, FIT_LATENTS, FIT_LATENTS), generator=generator)
        coarse = torch.randn((1, self._channels, COARSE, COARSE), generator=generator)
        return functional.interpolate(coarse, size=(FIT_LATENTS, FIT_LATENTS), mode="bicubic") + 0.2 * fine
