"""Limit the time spent on retries, with a capped exponential backoff between them."""

from __future__ import annotations

import random
import threading
import time

from core.backoff import backoff_seconds
from core.errors import FarmError

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0


class RetryBudget:
    """The retries of one request: at most `seconds` from now on, and none once `closed` is set."""

    def __init__(self, seconds: float, closed: threading.Event) -> None:
        self._end = time.monotonic() + seconds
        self._closed = closed
        self._failures = 0

    def shorten(self, seconds: float) -> None:
        """Leave at most `seconds` from now."""
        self._end = min(self._end, time.monotonic() + seconds)

    def sleep_or_raise(self, error: FarmError, pause: float | None = None) -> None:
        """Sleep `pause` seconds, else the backoff with jitter. Raises `error` when the time is over or the client closes."""
        self._failures += 1
        backoff = backoff_seconds(self._failures, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        seconds = pause if pause is not None else backoff * random.uniform(0.5, 1.0)  # noqa: S311 -- not a secret
        if time.monotonic() + seconds > self._end or self._closed.wait(seconds):
            raise error
