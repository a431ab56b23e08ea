"""Decode images that clients send as base64, in all forms in which libraries and browsers write it."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote

from core.errors import InvalidInput

_WHITESPACE = b" \t\r\n\v\f"
_STANDARD = bytes.maketrans(b"-_", b"+/")


def decode_base64_image(text: str, field: str) -> bytes:
    """Decode base64 or a data URL; raise InvalidInput `image_format` for anything else.

    Line breaks, missing padding, the URL-safe alphabet and a data URL's parameters are taken as they come.
    """
    text = text.strip()
    if text[:5].lower() == "data:":
        text = unquote(text.partition(",")[2])
    try:
        packed = text.encode("ascii").translate(_STANDARD, _WHITESPACE).rstrip(b"=")
        found = base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not found:
        raise InvalidInput(
            "This is not an image in base64: send the base64 of a PNG, JPEG or WebP file, alone or as a data URL.",
            field=field,
            code="image_format",
        )
    return found
