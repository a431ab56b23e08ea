"""Write and read the EXIF UserComment, where JPEG and WebP tools look for generation settings.

The block is assembled here because readers expect the type UNDEFINED and `UNICODE\\0` before UTF-16, and Pillow's writer
produces neither. All of it is big-endian, because some readers take the text's byte order from the block and others assume
big-endian.
"""

from __future__ import annotations

import struct

PREFIX = b"Exif\0\0"
_SOFTWARE, _EXIF_IFD, _EXIF_VERSION, _USER_COMMENT = 0x0131, 0x8769, 0x9000, 0x9286
_ASCII, _LONG, _UNDEFINED = 2, 4, 7
_CODES = {b"UNICODE\0": "utf-16", b"ASCII\0\0\0": "ascii", b"JIS\0\0\0\0\0": "shift_jis", bytes(8): "utf-8"}

Entry = tuple[int, int, bytes]


def user_comment_block(text: str, software: str) -> bytes:
    """Return an EXIF block (with its `Exif` prefix) that holds the text and the software's name."""
    comment = b"UNICODE\0" + text.encode("utf-16-be")
    software_value = software.encode("ascii", "replace") + b"\0"
    pointer_size = len(_directory([(_SOFTWARE, _ASCII, software_value), (_EXIF_IFD, _LONG, bytes(4))], 8))
    main = [(_SOFTWARE, _ASCII, software_value), (_EXIF_IFD, _LONG, struct.pack(">I", 8 + pointer_size))]
    detail = [(_EXIF_VERSION, _UNDEFINED, b"0232"), (_USER_COMMENT, _UNDEFINED, comment)]
    header = b"MM" + struct.pack(">HI", 42, 8)
    return PREFIX + header + _directory(main, 8) + _directory(detail, 8 + pointer_size)


def decode_user_comment(value: bytes | str) -> str:
    """Decode a UserComment by the character code that it names; unreadable bytes become U+FFFD."""
    if isinstance(value, str):
        return value.rstrip("\0")
    code = _CODES.get(value[:8])
    if code is None:
        return value.decode("utf-8", "replace").rstrip("\0")
    body = value[8:]
    return body.decode(_utf16_order(body) if code == "utf-16" else code, "replace").rstrip("\0 ")


def _directory(entries: list[Entry], start: int) -> bytes:
    """Build one IFD at offset `start`, followed by its values; values of up to four bytes go inside their entries."""
    table, values = b"", b""
    values_at = start + 2 + 12 * len(entries) + 4
    for tag, kind, value in entries:
        count = len(value) // 4 if kind == _LONG else len(value)
        if len(value) <= 4:
            field = value.ljust(4, b"\0")
        else:
            field = struct.pack(">I", values_at + len(values))
            values += value + b"\0" * (len(value) % 2)
        table += struct.pack(">HHI", tag, kind, count) + field
    return struct.pack(">H", len(entries)) + table + bytes(4) + values


def _utf16_order(body: bytes) -> str:
    """Guess the byte order: some writers use little-endian against the rule, and their Latin letters end in a zero byte."""
    if body[:2] in (b"\xfe\xff", b"\xff\xfe"):
        return "utf-16"
    return "utf-16-le" if body[1::2].count(0) > body[0::2].count(0) else "utf-16-be"
