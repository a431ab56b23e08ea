"""Read where a GGUF file keeps its tensors, and map them without reading their data."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import torch

from worker.memory.stored_sizes import BLOCKS

ALIGNMENT = 32
SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a metadata value by the format's number of its type."""
TEXT, LIST, U32 = 8, 9, 4
NAMES = {0: "F32", 1: "F16", 30: "BF16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0"} | {
    10 + index: f"Q{2 + index}_K" for index in range(5)
}
"""Supported types by the format's number."""
PLAIN: Mapping[str, torch.dtype] = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class GgufTensor:
    """`shape` as torch has it, in elements; `begin`: of its bytes in the file."""

    kind: str
    shape: tuple[int, ...]
    begin: int

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes in the file."""
        block, size = BLOCKS[self.kind]
        return self.elements // block * size


def gguf_tensors(file: Path) -> dict[str, GgufTensor]:
    """Return the file's tensors by name. Raises ValueError, in words for people, for a damaged file or an unknown type."""
    with file.open("rb") as handle:
        try:
            found = _tensors(handle)
        except (struct.error, UnicodeDecodeError, OverflowError, KeyError, RecursionError) as error:
            raise ValueError("its header is damaged") from error
    size = file.stat().st_size
    for name, tensor in found.items():
        if tensor.begin + tensor.size > size:
            raise ValueError(f"it ends before its tensor {name}")
    return found


def mapped_tensors(file: Path) -> Iterator[tuple[str, GgufTensor, torch.Tensor]]:
    """Yield name, place and data of every tensor: plain types as they are, others as uint8, rows of packed blocks.

    The data stay pages of the file until they are used.
    """
    found = gguf_tensors(file)
    # Private: writing to a tensor would never reach the file.
    whole = torch.from_file(str(file), shared=False, size=file.stat().st_size, dtype=torch.uint8)
    for name, tensor in found.items():
        data = whole[tensor.begin : tensor.begin + tensor.size]
        if tensor.kind in PLAIN:
            yield name, tensor, data.view(PLAIN[tensor.kind]).reshape(tensor.shape)
        else:
            yield name, tensor, data.reshape(*tensor.shape[:-1], -1)


def _tensors(handle: BinaryIO) -> dict[str, GgufTensor]:
    magic, version, count, values = struct.unpack("<4sIQQ", handle.read(24))
    if magic != b"GGUF" or version not in (2, 3):
        raise ValueError("it is not a GGUF file of version 2 or 3")
    alignment = ALIGNMENT
    for _ in range(values):
        key, value = _text(handle), _value(handle)
        if key == "general.alignment" and isinstance(value, int) and value > 0:
            alignment = value
    rows = {_text(handle): _row(handle) for _ in range(count)}
    data = -(-handle.tell() // alignment) * alignment
    return {name: GgufTensor(_kind(name, kind), shape, data + begin) for name, (kind, shape, begin) in rows.items()}


def _row(handle: BinaryIO) -> tuple[int, tuple[int, ...], int]:
    (dimensions,) = struct.unpack("<I", handle.read(4))
    if dimensions > 4:
        raise ValueError("its header is damaged")
    sides = struct.unpack(f"<{dimensions}Q", handle.read(8 * dimensions))
    kind, begin = struct.unpack("<IQ", handle.read(12))
    return kind, sides[::-1], begin


def _kind(name: str, kind: int) -> str:
    if kind in NAMES:
        return NAMES[kind]
    raise ValueError(f"its tensor {name} is of ggml's type {kind}; supported are {', '.join(BLOCKS)}")


def _text(handle: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", handle.read(8))
    if length > 2**16:
        raise ValueError("its header is damaged")
    return handle.read(length).decode()


def _value(handle: BinaryIO) -> Any:  # noqa: ANN401 - a number, or None for what is skipped
    (kind,) = struct.unpack("<I", handle.read(4))
    if kind == U32:
        return struct.unpack("<I", handle.read(4))[0]
    _skip(handle, kind)
    return None


def _skip(handle: BinaryIO, kind: int) -> None:
    if kind == TEXT:
        (length,) = struct.unpack("<Q", handle.read(8))
        handle.seek(length, 1)
    elif kind == LIST:
        inner, count = struct.unpack("<IQ", handle.read(12))
        if inner in SCALAR_BYTES:
            handle.seek(SCALAR_BYTES[inner] * count, 1)
            return
        for _ in range(count):
            _skip(handle, inner)
    else:
        handle.seek(SCALAR_BYTES[kind], 1)
