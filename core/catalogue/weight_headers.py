"""Read the headers of safetensors and GGUF files: names, types and shapes of tensors, and metadata, but no tensor.

Every length in a header is checked against a limit and against the file's size before anything of that length is read.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

MAX_JSON_BYTES = 16 * 2**20
"""Limit of a safetensors header, which takes up to 15 times its size in memory; real ones have less than 5 MB."""
MAX_GGUF_BYTES = 64 * 2**20
"""Limit of a GGUF header; the largest real ones are a text encoder's, which hold its tokens: less than 10 MB."""
MAX_TENSORS = 100_000
MAX_DIMENSIONS = 8
MAX_SIDE = 2**40
_SAFETENSORS_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4,
    "F6_E2M3": 6, "F6_E3M2": 6, "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64,
    "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


class HeaderError(ValueError):
    """The header is damaged or absurd; the message continues a sentence that begins with the file's name."""


class TensorInfo(NamedTuple):
    """`dtype` is the format's own name, such as `BF16`, `F8_E4M3` or `Q8_0`; `shape` is in torch's order."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """Tensors by name, and metadata. Of GGUF metadata, lists of more than 64 values are left out.

    `begins`: of a GGUF file, where the bytes of each tensor begin.
    """

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, Any]
    size_bytes: int
    begins: Mapping[str, int] = field(default_factory=dict)


def safetensors_header(path: Path) -> Header:
    """Return the header of a safetensors file. Raises HeaderError, or OSError when the file cannot be read."""
    size = path.stat().st_size
    with path.open("rb") as opened:
        start = opened.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
        if not 2 <= length <= MAX_JSON_BYTES:
            raise HeaderError("is not a safetensors file")
        if 8 + length > size:
            raise HeaderError(f"is cut off: its header alone has {8 + length:,} bytes, the file has {size:,}")
        text = opened.read(length)
    try:
        rows = json.loads(text)
        metadata = rows.pop("__metadata__", {})
        if len(rows) > MAX_TENSORS:
            raise HeaderError(f"has a damaged header: it names {len(rows):,} tensors")
        ends = {name: _safetensors_row(name, row) for name, row in rows.items()}
        tensors = {name: TensorInfo(row["dtype"], tuple(row["shape"])) for name, row in rows.items()}
        labels = {key: value for key, value in metadata.items() if isinstance(value, str)}
    except HeaderError:
        raise
    except (ValueError, AttributeError, KeyError, IndexError, TypeError, RecursionError):
        raise HeaderError("has a damaged header") from None
    _check_end(8 + length + max(ends.values(), default=0), size)
    return Header(tensors, labels, size)


def _safetensors_row(name: str, row: dict[str, Any]) -> int:
    """Check one tensor's entry; return where its data ends."""
    dtype, shape, (start, end) = row["dtype"], row["shape"], row["data_offsets"]
    if dtype not in _SAFETENSORS_BITS:
        raise HeaderError(f"has a tensor of the unknown type {str(dtype)[:20]}")
    _check_shape(name, shape)
    if not (type(start) is int and type(end) is int and 0 <= start <= end):
        raise HeaderError(f"has a damaged header: {name[:80]} has no place in the file")
    if (end - start) * 8 != math.prod(shape) * _SAFETENSORS_BITS[dtype]:
        raise HeaderError(f"has a damaged header: the size of {name[:80]} does not match its shape")
    return end


def _check_shape(name: str, shape: list[int]) -> None:
    sound = len(shape) <= MAX_DIMENSIONS and all(type(side) is int and 0 <= side <= MAX_SIDE for side in shape)
    if not sound:
        raise HeaderError(f"has a damaged header: {name[:80]} has an impossible shape")


def _check_end(end: int, size: int) -> None:
    if end > size:
        raise HeaderError(f"is cut off: {size:,} of {end:,} bytes are there")
    if end < size:
        raise HeaderError(f"is damaged: it has {size - end:,} bytes more than its header states")


GGUF_MAGIC = b"GGUF"
_GGUF_VERSIONS = (2, 3)
_MAX_ENTRIES = 10_000
_MAX_TEXT_BYTES = 16 * 2**20
_MAX_LIST = 4_000_000
_KEPT_LIST = 64
_MAX_DEPTH = 3
GGUF_TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
}
"""ggml's number of a type -> its name, values in a block, bytes of a block."""
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9


def gguf_header(path: Path) -> Header:
    """Return the header of a GGUF file of version 2 or 3. Raises HeaderError, or OSError when the file cannot be read."""
    size = path.stat().st_size
    with path.open("rb") as opened:
        reader = _Reader(opened, size)
        if reader.take(4) != GGUF_MAGIC:
            raise HeaderError("is not a GGUF file")
        version = reader.number("I")
        if version not in _GGUF_VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in _GGUF_VERSIONS
            what = "a big-endian GGUF file" if swapped else f"a GGUF file of version {version}"
            raise HeaderError(f"is {what}; versions 2 and 3, little-endian, can be read")
        tensor_count, entry_count = reader.count(MAX_TENSORS, "tensors"), reader.count(_MAX_ENTRIES, "metadata entries")
        values = {reader.text(): reader.value() for _ in range(entry_count)}
        rows = {reader.text(): _gguf_row(reader) for _ in range(tensor_count)}
        start = _gguf_data(rows, values, reader.position, size)
    begins = {name: start + offset for name, (_, offset) in rows.items()}
    return Header({name: info for name, (info, _) in rows.items()}, values, size, begins)


def _gguf_row(reader: _Reader) -> tuple[TensorInfo, int]:
    """Return a tensor's entry, and where its bytes begin in the data."""
    dimensions = reader.number("I")
    if dimensions > MAX_DIMENSIONS:
        raise HeaderError("has a damaged header: a tensor has an impossible shape")
    shape = tuple(reader.number("Q") for _ in range(dimensions))
    kind, offset = reader.number("I"), reader.number("Q")
    if any(side > MAX_SIDE for side in shape):
        raise HeaderError("has a damaged header: a tensor has an impossible shape")
    if kind not in GGUF_TYPES:
        raise HeaderError(f"has tensors of ggml's type {kind}, which this version does not know")
    return TensorInfo(GGUF_TYPES[kind][0], shape[::-1]), offset


_GGUF_BLOCKS = {name: (block, block_bytes) for name, block, block_bytes in GGUF_TYPES.values()}


def _gguf_bytes(info: TensorInfo) -> int:
    block, block_bytes = _GGUF_BLOCKS[info.dtype]
    return -(-math.prod(info.shape) // block) * block_bytes


def _gguf_data(rows: Mapping[str, tuple[TensorInfo, int]], values: Mapping[str, Any], position: int, size: int) -> int:
    """Return where the data begin; raise HeaderError when the file ends before them."""
    alignment = values.get("general.alignment", 32)
    if type(alignment) is not int or not 0 < alignment <= 2**20:
        raise HeaderError("has a damaged header: its alignment is impossible")
    start = -(-position // alignment) * alignment
    end = start + max((offset + _gguf_bytes(info) for info, offset in rows.values()), default=0)
    if rows and end > size:
        raise HeaderError(f"is cut off: {size:,} of {end:,} bytes are there")
    return start


class _Reader:
    """Reads values in order and refuses to read past a limit or the file's end."""

    def __init__(self, opened: BinaryIO, size: int) -> None:
        self._opened = opened
        self._size = size
        self.position = 0

    def take(self, count: int) -> bytes:
        self._claim(count)
        data = self._opened.read(count)
        if len(data) != count:
            raise HeaderError("is cut off within its header")
        return data

    def _claim(self, count: int) -> None:
        self.position += count
        if self.position > self._size:
            raise HeaderError("is cut off within its header, or its header is damaged")
        if self.position > MAX_GGUF_BYTES:
            raise HeaderError(f"has a damaged header: it has more than {MAX_GGUF_BYTES:,} bytes")

    def number(self, code: str) -> int:
        number: int = self._scalar(code)  # type: ignore[assignment]
        return number

    def _scalar(self, code: str) -> object:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]

    def count(self, limit: int, what: str) -> int:
        number: int = self.number("Q")
        if number > limit:
            raise HeaderError(f"has a damaged header: it states {number:,} {what}")
        return number

    def text(self) -> str:
        return self.take(self.count(_MAX_TEXT_BYTES, "bytes of text")).decode("utf-8", "replace")

    def value(self) -> object:
        return self._value_of(self.number("I"), 0)

    def _value_of(self, kind: int, depth: int) -> object:
        if kind == _TEXT:
            return self.text()
        if kind == _LIST and depth < _MAX_DEPTH:
            return self._list(depth + 1)
        if kind not in _SCALARS:
            raise HeaderError(f"has a damaged header: metadata of the unknown type {kind}")
        return self._scalar(_SCALARS[kind])

    def _list(self, depth: int) -> object:
        kind, length = self.number("I"), self.count(_MAX_LIST, "values of a list")
        if length <= _KEPT_LIST:
            return [self._value_of(kind, depth) for _ in range(length)]
        if kind in _SCALARS:
            self._skip(length * struct.calcsize(f"<{_SCALARS[kind]}"))
        elif kind == _TEXT:
            for _ in range(length):
                self._skip(self.count(_MAX_TEXT_BYTES, "bytes of text"))
        else:
            raise HeaderError("has a damaged header: a list of lists is too long")
        return None

    def _skip(self, count: int) -> None:
        self._claim(count)
        self._opened.seek(count, 1)
