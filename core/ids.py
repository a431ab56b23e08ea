"""Identifiers: time-ordered UUIDs (RFC 9562, version 7), so that new rows are added at the end of an index."""

from __future__ import annotations

import os
import re
import threading
import time
import uuid

_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_FRACTIONS = 1 << 12
"""Parts of a millisecond that an id can tell apart (RFC 9562, section 6.2, method 3)."""


class _Timestamps:
    """Times in 4096ths of a millisecond, each later than the one before, so that ids of a process sort by creation."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> int:
        now = time.time_ns() * _FRACTIONS // 1_000_000
        with self._lock:
            self._last = max(now, self._last + 1)
            return self._last


_timestamps = _Timestamps()


def new_id() -> str:
    """Return a UUIDv7 as text: 48 bits of milliseconds, 12 of their fraction, then random bits."""
    milliseconds, fraction = divmod(_timestamps.next(), _FRACTIONS)
    randomness = int.from_bytes(os.urandom(8), "big") >> 2
    value = (milliseconds << 80) | (0x7 << 76) | (fraction << 64) | (0x2 << 62) | randomness
    return str(uuid.UUID(int=value))


def earliest_id(seconds: float) -> str:
    """Return the lowest id of a time in seconds since 1970; times outside of an id's range get its first or last one."""
    milliseconds = min(max(int(seconds * 1000), 0), (1 << 48) - 1)
    return str(uuid.UUID(int=milliseconds << 80))


def is_id(text: str) -> bool:
    """Return whether `text` has the form of an identifier; it need not exist."""
    return _PATTERN.fullmatch(text) is not None
