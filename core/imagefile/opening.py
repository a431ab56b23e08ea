"""Opening pictures from strangers: three formats, one frame, a size limit that is checked before any pixel is read."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

from PIL import Image, ImageOps, UnidentifiedImageError

from core.errors import InvalidInput

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 64 * 2**20
"""Default limit: 64 megapixels, which is 192 MiB when decoded."""

_PHONE_JPEG = "MPO"
"""A JPEG with further pictures (such as a depth map) behind the first; only the first is ever read."""
DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, KeyError, IndexError, OverflowError),
    *(struct.error, zlib.error, UserWarning),
)
"""What Pillow raises on damaged files, and the warning it gives (an error where warnings are) on damaged EXIF."""
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def open_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read the header only; the pixels load on first use.

    Raises InvalidInput `image_format`, `image_too_large`, `image_animated` or `image_unreadable`.
    """
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise InvalidInput("This is not a PNG, JPEG or WebP picture.", code="image_format") from None
    except _BOMB:
        raise _too_large("too many", max_pixels) from None
    except DAMAGE as error:
        raise _unreadable(error) from error
    if image.width * image.height > max_pixels:
        raise _too_large(str(image.width * image.height), max_pixels)
    if image.format != _PHONE_JPEG and getattr(image, "n_frames", 1) > 1:
        raise InvalidInput("This picture is animated; send a single frame.", code="image_animated")
    return image


def open_rgb(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The decoded picture as RGB, upright, with what is transparent on white. Raises like `open_image`."""
    image = open_image(data, max_pixels=max_pixels)
    load_pixels(image)
    return to_rgb(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """A loaded picture as RGB, upright, with what is transparent on white."""
    upright = _upright(image)
    if not upright.has_transparency_data:
        return upright.convert("RGB")
    pixels = upright.convert("RGBA")
    ground = Image.new("RGBA", pixels.size, "white")
    return Image.alpha_composite(ground, pixels).convert("RGB")


def load_pixels(image: Image.Image) -> None:
    """Decode now, so that damage shows as InvalidInput `image_unreadable`."""
    try:
        image.load()
    except _BOMB:
        raise _too_large("too many", MAX_PIXELS) from None
    except DAMAGE as error:
        raise _unreadable(error) from error


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF says; as it is when that block is damaged."""
    try:
        return ImageOps.exif_transpose(image)
    except DAMAGE:
        return image


def _unreadable(error: Exception) -> InvalidInput:
    return InvalidInput(f"This picture is damaged and cannot be read: {error}.", code="image_unreadable")


def _too_large(found: str, limit: int) -> InvalidInput:
    return InvalidInput(f"This picture has {found} pixels; at most {limit} are accepted.", code="image_too_large")
