"""What a file of weights holds: layouts from its header, tensors one by one, as pages of the file where it can be mapped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from worker.memory.sizes import safetensors_header
from worker.memory.tensor_file import DTYPES, Layout


def layouts(file: Path) -> dict[str, Layout]:
    """By name; of a safetensors file the header alone is read."""
    if file.suffix != ".safetensors":
        return {name: Layout(tensor.dtype, tuple(tensor.shape)) for name, tensor in _pickled(file).items()}
    header = safetensors_header(file)
    return {name: Layout(DTYPES[entry["dtype"]], tuple(entry["shape"])) for name, entry in header.items()}


def tensors(file: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and tensor, one after another; whoever drops each before the next holds one at a time."""
    if file.suffix != ".safetensors":
        yield from _pickled(file).items()
        return
    with safe_open(file, framework="pt") as opened:
        for name in opened.offset_keys():
            yield name, opened.get_tensor(name)


def _pickled(file: Path) -> dict[str, torch.Tensor]:
    loaded: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return {name: value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
