"""Masks of inpainting, also from the transparency of an image: white is repainted, black is kept."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageChops, ImageFilter, ImageOps

from core.imagefile.reading import FORMATS, MAX_PIXELS, open_rgb, open_with_alpha

LIGHT = 128
"""From this luminance on, 0 to 255, a pixel of a mask is repainted. diffusers' pipelines divide at the same value."""
MAX_FEATHER = 256
_OPAQUE = 255


def open_mask(data: bytes, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """Return an encoded mask of any mode as its luminance, with transparent areas white. Raises like `open_image`."""
    return open_rgb(data, max_pixels=max_pixels, formats=formats).convert("L")


def inverted(data: bytes, max_pixels: int) -> bytes:
    """Return an encoded mask as a PNG with black and white exchanged. Raises like `open_image`."""
    buffer = BytesIO()
    ImageOps.invert(open_mask(data, max_pixels=max_pixels)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def black_and_white(mask: Image.Image) -> Image.Image:
    """Return a grey mask with each pixel at 0 or 255."""
    return mask.point([255 if value >= LIGHT else 0 for value in range(256)])


def white_share(mask: Image.Image) -> float:
    """Return which share of a grey mask is repainted, 0..1."""
    return sum(mask.histogram()[LIGHT:]) / (mask.width * mask.height)


def resized(mask: Image.Image, width: int, height: int) -> Image.Image:
    """Scale a grey mask to that size and return it in black and white: a pixel is white if half of its area is."""
    scaled = mask if mask.size == (width, height) else mask.resize((width, height), Image.Resampling.BOX)
    return black_and_white(scaled)


def paste_weights(mask: Image.Image, feather: int) -> Image.Image:
    """Return how much of each pixel comes from the new image, 0..255, for a mask in black and white.

    White pixels are new. Over `feather` pixels outside of them the new image fades out; all others are 0.
    """
    if not feather:
        return mask
    blurred = mask.filter(ImageFilter.BoxBlur(feather))  # Reaches exactly that far, with half of the weight at an edge.
    return ImageChops.lighter(mask, blurred.point([min(2 * value, 255) for value in range(256)]))


def mask_of_transparency(data: bytes, grow: int = 0, *, max_pixels: int = MAX_PIXELS) -> tuple[bytes, float]:
    """Return a mask as a PNG, white where the image is transparent, grown by about half of `grow` pixels on each side.

    ComfyUI's LoadImage makes its masks like this. The second value is which share is repainted, 0..1. Raises like
    `open_with_alpha`.
    """
    image = open_with_alpha(data, max_pixels=max_pixels)
    opacity = image.getchannel("A") if image.mode == "RGBA" else Image.new("L", image.size, _OPAQUE)
    mask = opacity.point([_OPAQUE - value for value in range(_OPAQUE + 1)])
    if grow > 1:
        mask = mask.filter(ImageFilter.MaxFilter(grow | 1))  # Pillow takes odd sizes only.
    buffer = BytesIO()
    mask.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue(), round(white_share(mask), 6)
