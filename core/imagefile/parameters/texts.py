"""Collect the texts of an open image file: PNG's text chunks, EXIF, JPEG's comment."""

from __future__ import annotations

from collections.abc import Mapping

from PIL import Image

from core.imagefile.exif import decode_user_comment
from core.imagefile.parameters.found import MAX_JSON_CHARS
from core.imagefile.reading import DECODE_ERRORS

_EXIF_IFD, _USER_COMMENT, _MAKER_NOTE = 0x8769, 0x9286, 0x927C
_MAIN_TAGS = {0x010E: "exif:ImageDescription", 0x010F: "exif:Make", 0x0110: "exif:Model", 0x0131: "exif:Software"}
USER_COMMENT, MAKER_NOTE = "exif:UserComment", "exif:MakerNote"

Texts = Mapping[str, str]
"""Texts by keyword; those of EXIF have the prefix `exif:`."""


def texts_of(image: Image.Image) -> Texts:
    """Return the texts of a loaded image; each is cut to a megabyte, and damaged EXIF is left out."""
    found = {str(key): text for key, value in image.info.items() if (text := _text(value)) is not None}
    found.pop("exif", None)
    try:
        exif = image.getexif()
        detail = exif.get_ifd(_EXIF_IFD)
        tags = {name: exif.get(tag) for tag, name in _MAIN_TAGS.items()}
        # Fooocus writes both into the main directory.
        comment = detail.get(_USER_COMMENT, exif.get(_USER_COMMENT))
        tags[MAKER_NOTE] = detail.get(_MAKER_NOTE, exif.get(_MAKER_NOTE))
    except DECODE_ERRORS:
        return found
    if isinstance(comment, bytes | str):
        found[USER_COMMENT] = decode_user_comment(comment)[:MAX_JSON_CHARS]
    return found | {name: text for name, value in tags.items() if (text := _text(value)) is not None}


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        return value[:MAX_JSON_CHARS].decode("utf-8", "replace").rstrip("\0")
    return str(value)[:MAX_JSON_CHARS] if isinstance(value, str) else None
