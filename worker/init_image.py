"""Decode the image that a request starts from and scale it to the requested size."""

from __future__ import annotations

import io

from PIL import Image

from core.errors import InvalidInput
from core.imagefile.reading import FORMATS, open_rgb

PACKED = "PPM"
"""Pillow's name for the uncompressed files PPM and PGM."""
MAX_PIXELS = 2**28
"""Above any IMAGEFARM_MAX_UPLOAD_PIXELS in use: the API has checked that limit."""


def open_reference(data: bytes) -> Image.Image:
    """Return the encoded image as upright RGB; raise InvalidInput when it cannot be read."""
    try:
        return open_rgb(data, max_pixels=MAX_PIXELS, formats=(*FORMATS, PACKED))
    except InvalidInput as error:
        message = f"The input image cannot be read: {error.message}"
        raise InvalidInput(message, field="image", code=error.code) from error


def open_init_image(data: bytes, width: int, height: int) -> Image.Image:
    """Return the encoded image as upright RGB at that size in pixels; raise InvalidInput when it cannot be read."""
    rgb = open_reference(data)
    if rgb.size != (width, height):
        rgb = rgb.resize((width, height), Image.Resampling.LANCZOS)
    return rgb


def resize_init_image(data: bytes, width: int, height: int) -> bytes:
    """Return the image as uncompressed PPM at that size.

    Decoding and scaling happen on the calling thread, so that opening the result in the engine does not stall the device.
    """
    return _packed(open_init_image(data, width, height))


def unpack_reference(data: bytes) -> bytes:
    """Return the image as uncompressed PPM at its own size, for models that edit it and scale it themselves."""
    return _packed(open_reference(data))


def _packed(image: Image.Image) -> bytes:
    packed = io.BytesIO()
    image.save(packed, PACKED)
    return packed.getvalue()
