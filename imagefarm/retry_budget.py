"""Limit the time spent on retries, with growing pauses between them."""

from __future__ import annotations

import random
import threading
import time

from core.errors import FarmError

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0


class RetryBudget:
    """For one request: `bear` sleeps before the next try, or raises the trouble once the time is over."""

    def __init__(self, seconds: float, closed: threading.Event) -> None:
        self._end = time.monotonic() + seconds
        self._closed = closed
        self._pause = FIRST_PAUSE_SECONDS

    def shorten(self, seconds: float) -> None:
        """From now on at most that many seconds more."""
        self._end = min(self._end, time.monotonic() + seconds)

    def sleep_or_raise(self, trouble: FarmError, pause: float | None = None) -> None:
        """Sleeps `pause` seconds, else a growing time that differs between clients; wakes up when the client closes."""
        seconds = pause if pause is not None else self._pause * random.uniform(0.5, 1.0)  # noqa: S311 -- not a secret
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        if time.monotonic() + seconds > self._end or self._closed.wait(seconds):
            raise trouble
