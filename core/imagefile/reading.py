"""Open untrusted image files within size limits and read their metadata."""

from __future__ import annotations

import math
import struct
import zlib
from io import BytesIO
from typing import cast

from PIL import Image, ImageOps, UnidentifiedImageError

from core.errors import InvalidInput
from core.imagefile import xmp
from core.imagefile.exif import decode_user_comment
from core.imagefile.jpeg_segments import check_segments
from core.imagefile.metadata import FileMetadata, ImageMetadata, from_json
from core.imagefile.parameters_text import parse_parameters
from core.imagefile.png_chunks import without_oversized_chunks

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 64 * 2**20
"""Default limit: 64 megapixels, which is 192 MiB when decoded."""

_PHONE_JPEG = "MPO"
"""A JPEG with further images (such as a depth map) after the first; only the first is read."""
DECODE_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, KeyError, IndexError, OverflowError),
    *(struct.error, zlib.error, UserWarning),
)
"""Errors that Pillow raises on damaged files. UserWarning: damaged EXIF, where warnings are errors."""
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def open_image(data: bytes, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """Read the header only; the pixels are loaded on first use. Oversized texts and profiles of a PNG are left out.

    Raises InvalidInput `image_format`, `image_too_large`, `image_animated` or `image_unreadable`.
    """
    try:
        check_segments(data)
        image = Image.open(BytesIO(without_oversized_chunks(data)), formats=formats)
    except UnidentifiedImageError:
        raise InvalidInput("This is not a PNG, JPEG or WebP image.", code="image_format") from None
    except _BOMB:
        raise _too_large("too many", max_pixels) from None
    except DECODE_ERRORS as error:
        raise _unreadable(error) from error
    if image.width * image.height > max_pixels:
        raise _too_large(str(image.width * image.height), max_pixels)
    if image.format != _PHONE_JPEG and getattr(image, "n_frames", 1) > 1:
        raise InvalidInput("This image is animated; send a single frame.", code="image_animated")
    if image.format == "PNG":
        _scale_transparent_color(image, data[_PNG_BIT_DEPTH])
    return image


def open_rgb(data: bytes, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """Decode as upright RGB, with transparent areas on white. Raises like `open_image`."""
    image = open_image(data, max_pixels=max_pixels, formats=formats)
    load_pixels(image)
    return to_rgb(image)


def open_with_alpha(data: bytes, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """Decode as upright RGB, or RGBA where a pixel is not opaque. Raises like `open_image`."""
    image = open_image(data, max_pixels=max_pixels, formats=formats)
    load_pixels(image)
    upright = _in_eight_bits(_upright(image))
    if upright.has_transparency_data:
        with_alpha = _unmultiplied(upright).convert("RGBA")
        if with_alpha.getchannel("A").getextrema() != (255, 255):
            return with_alpha
    return to_rgb(image)


_PNG_BIT_DEPTH = 24
"""Position of the bits per sample in a PNG."""


def _scale_transparent_color(image: Image.Image, bits: int) -> None:
    """Bring the one colour that a PNG calls transparent to the 8 bits that Pillow scales the pixels to."""
    color = image.info.get("transparency")
    if image.mode in ("1", "L") and isinstance(color, int) and bits < 8:
        image.info["transparency"] = color * 255 // ((1 << bits) - 1)
    elif image.mode == "RGB" and isinstance(color, tuple) and bits == 16:
        image.info["transparency"] = tuple(value >> 8 for value in color)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image of any mode to upright RGB of the same tones, with transparent areas on white.

    White is what they show on a page; the colours stored under them were never meant to be seen.
    """
    upright = _in_eight_bits(_upright(image))
    if not upright.has_transparency_data:
        return upright.convert("RGB")
    pixels = _unmultiplied(upright).convert("RGBA")
    background = Image.new("RGBA", pixels.size, "white")
    return Image.alpha_composite(background, pixels).convert("RGB")


def _unmultiplied(image: Image.Image) -> Image.Image:
    """Convert a mode with colours that are multiplied by alpha, which Pillow converts to its plain mode only."""
    return image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode]) if image.mode in ("La", "RGBa") else image


_SIXTEEN_BITS = 65_535
_HIGH_BYTE = tuple((value + 128) // 257 for value in range(_SIXTEEN_BITS + 1))


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Scale grey of more than 8 bits, which Pillow would clip at 255, to L or LA; return other modes unchanged."""
    if image.mode.startswith("I;16"):
        wide = image.convert("I")
        grey = wide.point(_HIGH_BYTE, "L")
        color = image.info.get("transparency")
        if not isinstance(color, int):
            return grey
        alpha = wide.point([0 if value == color else 255 for value in range(_SIXTEEN_BITS + 1)], "L")
        return _plain(Image.merge("LA", (grey, alpha)))
    if image.mode in ("I", "F"):
        return _plain(_scaled(image.convert("F")))
    return image


def _plain(image: Image.Image) -> Image.Image:
    image.info.pop("transparency", None)
    return image


def _scaled(image: Image.Image) -> Image.Image:
    """Scale floats to L. No file states their range: the values tell, as up to 1, 255 or 65,535, else their own."""
    low, high = cast("tuple[float, float]", image.getextrema())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise _unreadable(ValueError("it has pixels that are not numbers"))
    if low < 0 or high > _SIXTEEN_BITS:
        base, white = low, high
    else:
        base, white = 0.0, next(limit for limit in (1.0, 255.0, float(_SIXTEEN_BITS)) if high <= limit)
    scale = 255 / ((white - base) or 1.0)
    # Pillow truncates: half a level more rounds to the nearest.
    return image.point(lambda value: value * scale + (0.5 - base * scale)).convert("L")


def load_pixels(image: Image.Image) -> None:
    """Decode now, so that damage is reported as InvalidInput `image_unreadable`."""
    try:
        image.load()
    except _BOMB:
        raise _too_large("too many", MAX_PIXELS) from None
    except DECODE_ERRORS as error:
        raise _unreadable(error) from error


def _upright(image: Image.Image) -> Image.Image:
    """Rotate by the EXIF orientation; return the image unchanged when that block is damaged."""
    try:
        return ImageOps.exif_transpose(image)
    except DECODE_ERRORS:
        return image


def _unreadable(error: Exception) -> InvalidInput:
    return InvalidInput(f"This image is damaged and cannot be read: {error}.", code="image_unreadable")


def _too_large(found: str, limit: int) -> InvalidInput:
    return InvalidInput(f"This image has {found} pixels; at most {limit} are accepted.", code="image_too_large")


def read_metadata(data: bytes) -> FileMetadata:
    """Read the file's metadata. Raises InvalidInput when `open_image` cannot open it."""
    image = open_image(data)
    load_pixels(image)
    return metadata_of(image)


def metadata_of(image: Image.Image) -> FileMetadata:
    """Return the metadata of an open and loaded image; malformed texts are ignored."""
    packet = _packet(image)
    text = _parameters_text(image)
    return FileMetadata(
        format="JPEG" if image.format == _PHONE_JPEG else str(image.format),
        width=image.width,
        height=image.height,
        ai_generated=xmp.is_ai_generated(packet),
        imagefarm=_parse_record(_string(image.info.get("imagefarm")) or xmp.json_in(packet)),
        parameters=parse_parameters(text) if text else None,
        parameters_text=text,
    )


def _parse_record(text: str | None) -> ImageMetadata | None:
    try:
        return from_json(text) if text else None
    except ValueError:
        return None


def _parameters_text(image: Image.Image) -> str | None:
    if (text := _string(image.info.get("parameters"))) is not None:
        return text
    try:
        comment = image.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT)
    except DECODE_ERRORS:
        return None
    return decode_user_comment(comment) if isinstance(comment, bytes | str) else None


def _packet(image: Image.Image) -> bytes:
    """Return the XMP packet, or b"". PNG stores it among its texts, the other formats separately."""
    packet = image.info.get("XML:com.adobe.xmp", image.info.get("xmp", b""))
    return packet.encode() if isinstance(packet, str) else bytes(packet)


def _string(value: object) -> str | None:
    return str(value) if isinstance(value, str) else None
