"""The stored weights of one component, read tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch

from worker.memory.sizes import chosen_files
from worker.memory.weight_files import Layout, layouts, tensors


class WeightSource(Protocol):
    """`layouts`: of all tensors by name. `tensors`: yields them; a caller that drops each before the next holds one."""

    @property
    def layouts(self) -> Mapping[str, Layout]:
        """Return layouts by name, reading headers only where possible."""
        ...

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield name and tensor one by one."""
        ...


class FolderWeights:
    """The files of a component's folder in the layout of diffusers."""

    def __init__(self, folder: Path) -> None:
        self._files = chosen_files(folder)

    @cached_property
    def layouts(self) -> Mapping[str, Layout]:
        """Return layouts by name; of safetensors files only headers are read."""
        return {name: layout for file in self._files for name, layout in layouts(file).items()}

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield name and tensor one by one."""
        for file in self._files:
            yield from tensors(file)


class MappedWeights:
    """Tensors that are mapped from a file already."""

    def __init__(self, mapped: Mapping[str, torch.Tensor]) -> None:
        self._mapped = mapped

    @cached_property
    def layouts(self) -> Mapping[str, Layout]:
        """Return layouts by name."""
        return {name: Layout(each.dtype, tuple(each.shape)) for name, each in self._mapped.items()}

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield name and tensor one by one."""
        yield from self._mapped.items()
