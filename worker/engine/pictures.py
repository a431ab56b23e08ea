"""From pixels on a device to messages; runs on the outbox's thread."""

from __future__ import annotations

import io

import torch
from PIL import Image

from core.render import RenderRecord, RenderTimings
from worker.engine.events import Preview, Rendered
from worker.pipelines.pixels import to_bytes

PREVIEW_SIDE = 256
"""Longest side of a preview, in pixels."""
JPEG_QUALITY = 80


def preview_message(request_id: str, step: int, pixels: torch.Tensor) -> Preview:
    """One pixel per latent, enlarged smoothly to a size that can be looked at."""
    image = Image.fromarray(pixels.cpu().numpy())
    scale = PREVIEW_SIDE / max(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return Preview(request_id, step, buffer.getvalue(), image.width, image.height)


def rendered_message(request_id: str, pixels: torch.Tensor, record: RenderRecord, timings: RenderTimings) -> Rendered:
    """`pixels`: uint8, height x width x 3."""
    height, width = pixels.shape[:2]
    return Rendered(request_id, width, height, to_bytes(pixels), record, timings)
