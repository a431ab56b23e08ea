"""When the engine of this worker was loading: how much of a job's waiting was that."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

KEPT = 16
"""Loads remembered; older ones are of no job that still waits, or hardly any."""


class LoadingSpans:
    """Times are of `clock`, in seconds: the monotonic one. A new worker is loading."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = clock()
        self._spans: deque[tuple[float, float]] = deque(maxlen=KEPT)

    def note(self, state: str) -> None:
        """The worker's state is now this one; it counts as loading from `loading` to `ready`."""
        if state == "loading" and self._since is None:
            self._since = self._clock()
        if state == "ready" and self._since is not None:
            self._spans.append((self._since, self._clock()))
            self._since = None

    def within(self, seconds: float, until: float) -> float:
        """How many of the `seconds` before `until` the engine was loading."""
        since = until - seconds
        return sum(max(min(end, until) - max(begin, since), 0.0) for begin, end in tuple(self._spans))
