"""Strip text and colour profile chunks that are too large or damaged from a PNG; its pixels stay as they are."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_BYTES = 2**20
"""Largest text or profile that is kept, when decompressed: Pillow refuses the whole image for a larger one."""
_MAX_TOTAL_BYTES = 16 * 2**20
_MAX_SIDE_DATA = 1000
"""Texts, profiles and private chunks beyond this number are left out unread: each costs time, however small it is."""
_MAX_CHUNKS = 100_000
"""A file with more is no image that a program wrote. Pillow needs about 10 microseconds for each."""
_SIDE_DATA = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP"})
_SHOWN = frozenset({b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"eXIf", b"acTL"})
"""Optional chunks that say how the pixels look, and that the image is animated."""


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    end: int


def without_oversized_chunks(data: bytes) -> bytes:
    """Return the PNG without the side data that Pillow would refuse it for; other data and other formats unchanged.

    Raises ValueError for more chunks than any program writes.
    """
    if not data.startswith(SIGNATURE):
        return data
    view = memoryview(data)
    kept: list[memoryview] = []
    start = total = optional = 0
    for number, chunk in enumerate(_chunks(view)):
        if number == _MAX_CHUNKS:
            raise ValueError(f"it has more than {_MAX_CHUNKS} chunks")
        if not chunk.kind[:1].islower() or chunk.kind in _SHOWN:
            continue
        optional += 1
        size = _size(chunk, view) if optional <= _MAX_SIDE_DATA else None
        if size is not None and total + size <= _MAX_TOTAL_BYTES:
            total += size
        else:
            kept.append(view[start : chunk.start])
            start = chunk.end
    return b"".join([*kept, view[start:]]) if kept else data


def _chunks(view: memoryview) -> Iterator[_Chunk]:
    """Yield the complete chunks in order; stop at the first one that is cut off."""
    position = len(SIGNATURE)
    while position + 12 <= len(view):
        end = position + 12 + int.from_bytes(view[position : position + 4])
        if end > len(view):
            return
        yield _Chunk(bytes(view[position + 4 : position + 8]), position, end)
        position = end


def _size(chunk: _Chunk, view: memoryview) -> int | None:
    """Return the bytes of a text or profile when decompressed, 0 for other chunks; None when it cannot be kept.

    It cannot when they are too many, cannot be decompressed, or have another checksum.
    """
    if chunk.kind not in _SIDE_DATA:
        return 0
    if zlib.crc32(view[chunk.start + 4 : chunk.end - 4]) != int.from_bytes(view[chunk.end - 4 : chunk.end]):
        return None
    body = view[chunk.start + 8 : chunk.end - 4]
    packed = _compressed_part(chunk.kind, body)
    if packed is None:
        return len(body) if len(body) <= _MAX_BYTES else None
    unpacker = zlib.decompressobj()
    try:
        size = len(unpacker.decompress(packed, _MAX_BYTES + 1))
    except zlib.error:
        return None
    return size if size <= _MAX_BYTES else None


def _compressed_part(kind: bytes, body: memoryview) -> bytes | None:
    """Return the compressed bytes, after the keyword and the fields of the chunk's kind; None for a plain text."""
    _, _, rest = bytes(body).partition(b"\0")
    if kind in (b"zTXt", b"iCCP"):
        return rest[1:]
    if kind == b"iTXt" and rest[:1] not in (b"", b"\0"):
        return rest[2:].split(b"\0", 2)[-1]
    return None
