"""Decode an image-to-image request's input image and scale it to the requested size."""

from __future__ import annotations

import io

from PIL import Image

from core.errors import InvalidInput


def open_init_image(data: bytes, width: int, height: int) -> Image.Image:
    """Return the encoded image as RGB at that size in pixels; raise InvalidInput when it cannot be read."""
    try:
        image = Image.open(io.BytesIO(data))
        rgb = image.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidInput(f"The input image cannot be read: {error}.", field="image") from error
    if rgb.size != (width, height):
        rgb = rgb.resize((width, height), Image.Resampling.LANCZOS)
    return rgb


def resize_init_image(data: bytes, width: int, height: int) -> bytes:
    """Return the image as uncompressed PPM at that size.

    Decoding and scaling happen on the calling thread, so that opening the result in the engine does not stall the device.
    """
    packed = io.BytesIO()
    open_init_image(data, width, height).save(packed, "PPM")
    return packed.getvalue()
