"""Decode an image-to-image request's input image and scale it to the requested size."""

from __future__ import annotations

import io

from PIL import Image

from core.errors import InvalidInput
from core.imagefile.reading import FORMATS, open_rgb

_PACKED = "PPM"
_MAX_PIXELS = 2**28
"""Above any IMAGEFARM_MAX_UPLOAD_PIXELS in use: the API has checked that limit."""


def open_init_image(data: bytes, width: int, height: int) -> Image.Image:
    """Return the encoded image as upright RGB at that size in pixels; raise InvalidInput when it cannot be read."""
    try:
        rgb = open_rgb(data, max_pixels=_MAX_PIXELS, formats=(*FORMATS, _PACKED))
    except InvalidInput as error:
        message = f"The input image cannot be read: {error.message}"
        raise InvalidInput(message, field="image", code=error.code) from error
    if rgb.size != (width, height):
        rgb = rgb.resize((width, height), Image.Resampling.LANCZOS)
    return rgb


def resize_init_image(data: bytes, width: int, height: int) -> bytes:
    """Return the image as uncompressed PPM at that size.

    Decoding and scaling happen on the calling thread, so that opening the result in the engine does not stall the device.
    """
    packed = io.BytesIO()
    open_init_image(data, width, height).save(packed, _PACKED)
    return packed.getvalue()
