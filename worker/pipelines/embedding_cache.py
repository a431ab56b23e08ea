"""Cache text encoders' outputs by prompt."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

MAX_ENTRIES = 64
MAX_BYTES = 64 * 2**20
"""Device memory within the slack that plans leave: twenty-five of Z-Image's longest prompts, or more shorter ones."""
V = TypeVar("V")


def no_bytes(_value: object) -> int:
    """Return 0, for values whose memory does not count."""
    return 0


class EmbeddingCache(Generic[V]):
    """An LRU cache bounded by entries and by bytes as measured by `size_of`.

    Keys hold everything that changes the result: prompt, adapters, padding. Encoder, revision and quantisation are
    not part of them: a family has one model in one form. It is thread-safe; two threads that miss the same key at the
    same time may both compute it.
    """

    def __init__(
        self, size_of: Callable[[V], int] = no_bytes, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES
    ) -> None:
        self._size_of = size_of
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Hashable, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """Return the value for `key`; on a miss, call `make` and store its result."""
        value = self.peek(key)
        return self._keep(key, make()) if value is None else value

    def peek(self, key: Hashable) -> V | None:
        """Return the value for `key` if cached; counts as a use."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: Hashable, value: V) -> V:
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            while len(self._kept) > self._max_entries or self._bytes() > self._max_bytes:
                self._kept.popitem(last=False)
        return value

    def _bytes(self) -> int:
        return sum(self._size_of(value) for value in self._kept.values())
