"""Map the tensors of a GGUF file without reading their data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch

from core.catalogue.weight_headers import HeaderError, gguf_header
from worker.memory.stored_sizes import BLOCKS

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
    try:
        header = gguf_header(file)
    except HeaderError as error:
        raise ValueError(f"it {error}") from error
    for name, info in header.tensors.items():
        if info.dtype not in BLOCKS:
            raise ValueError(f"its tensor {name} is of ggml's type {info.dtype}; supported are {', '.join(BLOCKS)}")
    return {name: GgufTensor(info.dtype, info.shape, header.begins[name]) for name, info in header.tensors.items()}


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
