"""Reading back what a picture says about itself, ours or another tool's."""

from __future__ import annotations

from PIL import Image

from core.imagefile import xmp
from core.imagefile.a1111 import parse_parameters
from core.imagefile.exif import decode_user_comment
from core.imagefile.metadata import FileMetadata, ImageMetadata, from_json
from core.imagefile.opening import DAMAGE, load_pixels, open_image

_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286


def read_metadata(data: bytes) -> FileMetadata:
    """What the file says. Raises InvalidInput when it is not a picture that `open_image` opens."""
    image = open_image(data)
    load_pixels(image)
    return metadata_of(image)


def metadata_of(image: Image.Image) -> FileMetadata:
    """Of a picture that is open and loaded; texts that make no sense are passed over."""
    packet = _packet(image)
    text = _parameters_text(image)
    return FileMetadata(
        format="JPEG" if image.format == "MPO" else str(image.format),
        width=image.width,
        height=image.height,
        ai_generated=xmp.is_ai_generated(packet),
        imagefarm=_ours(_string(image.info.get("imagefarm")) or xmp.json_in(packet)),
        parameters=parse_parameters(text) if text else None,
        parameters_text=text,
    )


def _ours(text: str | None) -> ImageMetadata | None:
    try:
        return from_json(text) if text else None
    except ValueError:
        return None


def _parameters_text(image: Image.Image) -> str | None:
    if (text := _string(image.info.get("parameters"))) is not None:
        return text
    try:
        comment = image.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT)
    except DAMAGE:
        return None
    return decode_user_comment(comment) if isinstance(comment, bytes | str) else None


def _packet(image: Image.Image) -> bytes:
    """The XMP packet; empty when there is none. PNG keeps it among its texts, the others apart."""
    packet = image.info.get("XML:com.adobe.xmp", image.info.get("xmp", b""))
    return packet.encode() if isinstance(packet, str) else bytes(packet)


def _string(value: object) -> str | None:
    return str(value) if isinstance(value, str) else None
