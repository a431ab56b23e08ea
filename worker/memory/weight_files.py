"""Read weight files and write safetensors files one tensor at a time."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch
from safetensors import safe_open

from worker.memory.sizes import safetensors_header

SAFETENSORS_DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "C64": torch.complex64,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Torch dtypes by their names in the format's headers."""
SAFETENSORS_NAMES = {dtype: name for name, dtype in SAFETENSORS_DTYPES.items()}


class Layout(NamedTuple):
    """Dtype and shape of a stored tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The tensor's bytes."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


class TensorFile:
    """Context manager that writes a safetensors file.

    Leaving it raises ValueError unless every tensor was put; by then the bytes are flushed to disk.
    """

    def __init__(self, path: Path, layouts: Mapping[str, Layout]) -> None:
        # Widest dtypes first, so that each tensor begins at a multiple of its element size.
        ordered = sorted(layouts, key=lambda name: -layouts[name].dtype.itemsize)
        self._layouts, self._missing = dict(layouts), set(layouts)
        header, self._offsets, end = _header(ordered, layouts)
        self._file = path.open("wb")
        self._file.write(header)
        self._file.flush()
        os.ftruncate(self._file.fileno(), len(header) + end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._file:
            if kind is None:
                # The folder is renamed into place next: after a power cut it must not hold data that never reached the disk.
                os.fsync(self._file.fileno())
        if kind is None and self._missing:
            raise ValueError(f"{len(self._missing)} tensors were not written, among them {min(self._missing)}")

    def put(self, name: str, tensor: torch.Tensor) -> None:
        """Write one tensor; raise ValueError if it differs from its layout, KeyError for an unknown name."""
        if self._layouts[name] != Layout(tensor.dtype, tuple(tensor.shape)):
            raise ValueError(f"{name} is {tensor.dtype} {list(tensor.shape)}, not {self._layouts[name]}")
        flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
        left, at = flat.numpy().data, self._offsets[name]
        while left:
            written = os.pwrite(self._file.fileno(), left, at)
            left, at = left[written:], at + written
        self._missing.discard(name)


def _header(ordered: Sequence[str], layouts: Mapping[str, Layout]) -> tuple[bytes, dict[str, int], int]:
    """Return the bytes before the tensors, each tensor's offset in the file, and the tensors' total bytes."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    begins, end = {}, 0
    for name in ordered:
        dtype, shape = layouts[name]
        begins[name], end = end, end + layouts[name].size
        entries[name] = {"dtype": SAFETENSORS_NAMES[dtype], "shape": list(shape), "data_offsets": [begins[name], end]}
    body = json.dumps(entries).encode()
    body += b" " * (-len(body) % 8)
    header = struct.pack("<Q", len(body)) + body
    return header, {name: len(header) + begin for name, begin in begins.items()}, end


def layouts(file: Path) -> dict[str, Layout]:
    """Return layouts by name; of a safetensors file only the header is read."""
    if file.suffix != ".safetensors":
        return {name: Layout(tensor.dtype, tuple(tensor.shape)) for name, tensor in _pickled(file).items()}
    header = safetensors_header(file)
    return {name: Layout(SAFETENSORS_DTYPES[entry["dtype"]], tuple(entry["shape"])) for name, entry in header.items()}


def tensors(file: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield name and tensor one by one; a caller that drops each before the next holds one at a time."""
    if file.suffix != ".safetensors":
        yield from _pickled(file).items()
        return
    with safe_open(file, framework="pt") as opened:
        for name in opened.offset_keys():
            yield name, opened.get_tensor(name)


def _pickled(file: Path) -> dict[str, torch.Tensor]:
    loaded: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return {name: value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
