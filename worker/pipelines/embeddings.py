"""A small cache of what text encoders made of prompts."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

ENTRIES = 64
V = TypeVar("V")


class EmbeddingCache(Generic[V]):
    """Least recently used goes first. Keys hold whatever changes the result: prompt, adapters, longest
    length. Encoder, revision and quantisation need no place in them: a process loads one model in one form.
    Any thread may ask; two that ask for the same at the same time may both make it."""

    def __init__(self, entries: int = ENTRIES) -> None:
        self._entries = entries
        self._kept: OrderedDict[Hashable, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value for `key`, made when it is not there."""
        value = self.peek(key)
        return self._keep(key, make()) if value is None else value

    def peek(self, key: Hashable) -> V | None:
        """The value for `key` if it is there; it then counts as used."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: Hashable, value: V) -> V:
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            while len(self._kept) > self._entries:
                self._kept.popitem(last=False)
        return value
