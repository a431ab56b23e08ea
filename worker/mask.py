"""Decode the mask of an inpainting request, and paste the kept pixels into the finished image."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from core.errors import InvalidInput
from core.imagefile import masks
from core.imagefile.reading import FORMATS
from worker.init_image import MAX_PIXELS, PACKED, open_init_image


def open_mask(data: bytes, width: int, height: int) -> Image.Image:
    """Return an encoded mask in black and white (L) at that size in pixels.

    Raise InvalidInput when it cannot be read, and when it leaves nothing to repaint.
    """
    try:
        grey = masks.open_mask(data, max_pixels=MAX_PIXELS, formats=(*FORMATS, PACKED))
    except InvalidInput as error:
        raise InvalidInput(f"The mask cannot be read: {error.message}", field="mask", code=error.code) from error
    mask = masks.resized(grey, width, height)
    if mask.getbbox() is None:
        raise InvalidInput(
            f"The mask leaves nothing to repaint at {width}x{height} pixels: its white areas are too small or missing.",
            field="mask",
        )
    return mask


def resize_mask(data: bytes, width: int, height: int) -> bytes:
    """Return the mask as uncompressed PGM, in black and white at that size."""
    packed = io.BytesIO()
    open_mask(data, width, height).save(packed, PACKED)
    return packed.getvalue()


@dataclass(frozen=True)
class KeptPixels:
    """The image that inpainting starts from, and how much of each pixel comes from the new one, 0..255."""

    image: Image.Image
    weights: Image.Image

    @classmethod
    def of(cls, init_image: bytes, mask: bytes, width: int, height: int, feather: int) -> KeptPixels:
        """Prepare pasting into images of that size; `feather`: see `core.imagefile.masks.paste_weights`."""
        image = open_init_image(init_image, width, height)
        return cls(image, masks.paste_weights(open_mask(mask, width, height), feather))

    def paste_into(self, pixels: bytes) -> bytes:
        """Return the finished image (RGB, row by row) with the pixels of weight 0 exactly as they were."""
        new = Image.frombytes("RGB", self.image.size, pixels)
        return Image.composite(new, self.image, self.weights).tobytes()
