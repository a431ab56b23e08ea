"""Open untrusted image files within size limits and read their metadata."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

from PIL import Image, ImageOps, UnidentifiedImageError

from core.errors import InvalidInput
from core.imagefile import xmp
from core.imagefile.exif import decode_user_comment
from core.imagefile.metadata import FileMetadata, ImageMetadata, from_json
from core.imagefile.parameters_text import parse_parameters

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


def open_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read the header only; the pixels are loaded on first use.

    Raises InvalidInput `image_format`, `image_too_large`, `image_animated` or `image_unreadable`.
    """
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
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
    return image


def open_rgb(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode as upright RGB, with transparent areas on white. Raises like `open_image`."""
    image = open_image(data, max_pixels=max_pixels)
    load_pixels(image)
    return to_rgb(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image to upright RGB, with transparent areas on white."""
    upright = _upright(image)
    if not upright.has_transparency_data:
        return upright.convert("RGB")
    pixels = upright.convert("RGBA")
    background = Image.new("RGBA", pixels.size, "white")
    return Image.alpha_composite(background, pixels).convert("RGB")


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
