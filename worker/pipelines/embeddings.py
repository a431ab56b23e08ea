"""A small cache of what text encoders made of prompts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

ENTRIES = 64
V = TypeVar("V")


class EmbeddingCache(Generic[V]):
    """Least recently used goes first. Keys hold whatever changes the result: prompt, adapters, longest
    length. Encoder, revision and quantisation need no place in them: a process loads one model in one form."""

    def __init__(self, entries: int = ENTRIES) -> None:
        self._entries = entries
        self._kept: OrderedDict[Hashable, V] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value for `key`, made when it is not there."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        value = self._kept[key] = make()
        while len(self._kept) > self._entries:
            self._kept.popitem(last=False)
        return value

    def clear(self) -> None:
        self._kept.clear()
