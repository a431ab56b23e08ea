"""From decoded tensors to pixels and their bytes."""

from __future__ import annotations

import torch

from core.errors import RenderError


def check_finite(*tensors: torch.Tensor) -> None:
    """RenderError `non_finite_latents` when any number overflowed or was never one; waits once for the device."""
    # A NaN anywhere is a NaN in both, and this is some twenty times faster on a CPU than a look at each number.
    extremes = [extreme.float() for tensor in tensors for extreme in torch.aminmax(tensor)]
    if not bool(torch.isfinite(torch.stack(extremes)).all()):
        raise RenderError(
            "The numbers of this render overflowed (NaN or infinity), so there is no picture. "
            "The same request would do the same again: change the seed, size or guidance.",
            code="non_finite_latents",
        )


def to_pixels(image: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    """A decoded image (1 x 3 x height x width, about -1..1) as uint8, height x width x 3, on the same device.

    Rounds as diffusers' VaeImageProcessor does: in the image's dtype to 0..1, then in fp32 to 0..255, halves to even.
    Refuses what `check_finite` refuses, of the `latents` too: a VAE may make a picture of what overflowed.
    """
    check_finite(latents, image)
    scaled = (image[0] * 0.5 + 0.5).clamp(0, 1).permute(1, 2, 0).float()
    return scaled.mul_(255).round_().to(torch.uint8).contiguous()


def to_bytes(pixels: torch.Tensor) -> bytes:
    """RGB8, row by row; waits for the device that made it."""
    return pixels.cpu().numpy().tobytes()
