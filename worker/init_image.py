"""The picture that an image-to-image request starts from, at the size that was asked for."""

from __future__ import annotations

import io

from PIL import Image

from core.errors import InvalidInput


def open_init_image(data: bytes, width: int, height: int) -> Image.Image:
    """An encoded picture as RGB at that size in pixels; InvalidInput when it cannot be read."""
    try:
        image = Image.open(io.BytesIO(data))
        rgb = image.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidInput(f"The input image cannot be read: {error}.", field="image") from error
    if rgb.size != (width, height):
        rgb = rgb.resize((width, height), Image.Resampling.LANCZOS)
    return rgb


def resize_init_image(data: bytes, width: int, height: int) -> bytes:
    """The same picture, uncompressed (PPM) and at that size.

    The thread that calls this decodes and scales; an engine that opens the result keeps no device waiting.
    """
    packed = io.BytesIO()
    open_init_image(data, width, height).save(packed, "PPM")
    return packed.getvalue()
