"""Strip text and colour profile chunks that are too large or damaged from a PNG; its pixels stay as they are."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_BYTES = 2**20
"""Largest text or profile that is kept, when decompressed: Pillow refuses the whole image for a larger one."""
_MAX_TOTAL_BYTES = 16 * 2**20
_SIDE_DATA = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP"})


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    end: int
    intact: bool
    """Whether its checksum is right; computed for side data only."""


def without_oversized_chunks(data: bytes) -> bytes:
    """Return the PNG without the side data that Pillow would refuse it for; other data and other formats unchanged."""
    if not data.startswith(_SIGNATURE):
        return data
    view = memoryview(data)
    kept: list[memoryview] = []
    start = total = 0
    for chunk in _chunks(view):
        if chunk.kind not in _SIDE_DATA:
            continue
        size = _size(chunk.kind, view[chunk.start + 8 : chunk.end - 4]) if chunk.intact else None
        if size is not None and total + size <= _MAX_TOTAL_BYTES:
            total += size
        else:
            kept.append(view[start : chunk.start])
            start = chunk.end
    return b"".join([*kept, view[start:]]) if kept else data


def _chunks(view: memoryview) -> Iterator[_Chunk]:
    """Yield the complete chunks in order; stop at the first one that is cut off."""
    position = len(_SIGNATURE)
    while position + 12 <= len(view):
        end = position + 12 + int.from_bytes(view[position : position + 4])
        if end > len(view):
            return
        kind = bytes(view[position + 4 : position + 8])
        intact = kind not in _SIDE_DATA or zlib.crc32(view[position + 4 : end - 4]) == int.from_bytes(view[end - 4 : end])
        yield _Chunk(kind, position, end, intact)
        position = end


def _size(kind: bytes, body: memoryview) -> int | None:
    """Return the bytes of a text or profile when decompressed; None when they are too many or cannot be decompressed."""
    packed = _compressed_part(kind, body)
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
