"""Pictures on their way to the farm."""

from __future__ import annotations

from pathlib import Path

from core.errors import InvalidInput

_STARTS = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"RIFF", "image/webp"))


def read_picture(path: Path) -> bytes:
    """A file's content. Raises InvalidInput when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"'{path}' cannot be read: {error.strerror or error}.", code="unreadable_file") from error


def media_type(data: bytes) -> str:
    """By the first bytes; the farm looks at all of them. Raises InvalidInput `image_format` for another kind of file."""
    for start, kind in _STARTS:
        if data.startswith(start):
            return kind
    raise InvalidInput("This is not a PNG, JPEG or WebP picture.", code="image_format")
