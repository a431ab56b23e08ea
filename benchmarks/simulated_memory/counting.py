"""Count the bytes of live storages, allocation by allocation, as CUDA's allocator would receive them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.simulated_memory.pool import Block, Pool, rounded

Layout = tuple[torch.Size, tuple[int, ...], torch.dtype]
known_layouts: dict[object, list[Layout]] = {}
"""Of the new tensors that operations return, by the operation and its arguments: torch computes them in Python, slowly."""


class Peak:
    """`before`: bytes allocated at the start, `highest`: at the peak."""

    def __init__(self, before: int) -> None:
        self.before = self.highest = before

    @property
    def increase(self) -> int:
        """Bytes at the peak, minus those at the start."""
        return self.highest - self.before


class Allocations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While entered, counts every new storage of a meta tensor until it is freed. Views have no storage of their own.

    `now` and `highest` in bytes. Memory used within an operation (workspaces of cuBLAS and cuDNN) is not counted.
    """

    def __init__(self, pool: Pool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.pool = pool
        self.now = self.highest = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 - any operation's result
        key = (func, _key(args), _key(kwargs or {}))
        if layouts := known_layouts.get(key):
            made = [torch.empty_strided(*layout[:2], dtype=layout[2], device="meta") for layout in layouts]
            for each in made:
                self._note(each)
            return made[0] if len(made) == 1 else tuple(made)
        found = func(*args, **(kwargs or {}))
        leaves = [found] if isinstance(found, torch.Tensor) else tree_leaves(found)
        for leaf in leaves:
            if isinstance(leaf, torch.Tensor) and leaf.is_meta:
                self._note(leaf)
        if isinstance(found, torch.Tensor | tuple) and _are_new(leaves, tree_leaves((args, kwargs))):
            known_layouts[key] = [(leaf.shape, leaf.stride(), leaf.dtype) for leaf in leaves]
        return found

    def note_weights(self, module: nn.Module) -> None:
        """Count weights that were made before this was entered."""
        for tensor in (*module.parameters(), *module.buffers()):
            self._note(tensor)

    @contextmanager
    def watched(self) -> Iterator[Peak]:
        """Record the highest peak within the block."""
        seen = Peak(self.now)
        self.highest = self.now
        try:
            yield seen
        finally:
            seen.highest = self.highest

    def _note(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive:
            return
        size = rounded(storage.nbytes())
        weakref.finalize(storage, self._freed, key, size, self.pool.take(size))
        self._alive.add(key)
        self.now += size
        self.highest = max(self.highest, self.now)

    def _freed(self, key: int, size: int, block: Block) -> None:
        self._alive.discard(key)
        self.pool.give(block)
        self.now -= size


def _key(argument: object) -> object:
    """Return what of an operation's argument determines the layout of its results."""
    if isinstance(argument, torch.Tensor):
        return argument.shape, argument.stride(), argument.dtype, argument.device
    if isinstance(argument, list | tuple):
        return tuple(map(_key, argument))
    if isinstance(argument, dict):
        return tuple((name, _key(each)) for name, each in argument.items())
    return type(argument), argument


def _are_new(results: list[Any], arguments: list[Any]) -> bool:
    """Return whether the results are meta tensors which fill storages of their own, in none of which an argument is."""
    given = {each.untyped_storage()._cdata for each in arguments if isinstance(each, torch.Tensor)}
    return all(
        isinstance(each, torch.Tensor)
        and each.is_meta
        and each.untyped_storage()._cdata not in given
        and each.storage_offset() == 0
        and each.untyped_storage().nbytes()
        == torch.empty_strided(each.shape, each.stride(), dtype=each.dtype, device="meta").untyped_storage().nbytes()
        for each in results
    )
