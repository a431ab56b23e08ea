"""Masks from the transparency of an image, as ComfyUI's LoadImage makes them: what is transparent is repainted."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageFilter

from core.imagefile.masks import white_share
from core.imagefile.reading import MAX_PIXELS, open_with_alpha

_OPAQUE = 255


def mask_of_transparency(data: bytes, grow: int = 0, *, max_pixels: int = MAX_PIXELS) -> tuple[bytes, float]:
    """Return a mask as a PNG, white where the image is transparent, grown by about half of `grow` pixels on each side.

    The second value is which share is repainted, 0..1. Raises like `open_with_alpha`.
    """
    image = open_with_alpha(data, max_pixels=max_pixels)
    opacity = image.getchannel("A") if image.mode == "RGBA" else Image.new("L", image.size, _OPAQUE)
    mask = opacity.point([_OPAQUE - value for value in range(_OPAQUE + 1)])
    if grow > 1:
        mask = mask.filter(ImageFilter.MaxFilter(grow | 1))  # Pillow takes odd sizes only.
    buffer = BytesIO()
    mask.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue(), round(white_share(mask), 6)
