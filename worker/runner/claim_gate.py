"""Claims only while the model of the job is loaded: closed before another model is loaded, and empty when that starts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ClaimGate:
    """Open for one model or closed. Thread-safe."""

    def __init__(self, model: str | None = None) -> None:
        self._model = model
        self._inside = 0
        self._changed = threading.Condition()

    @property
    def model(self) -> str | None:
        """The model that may be claimed for; None while it is closed."""
        return self._model

    def open(self, model: str) -> None:
        """Let jobs of this model in."""
        with self._changed:
            self._model = model

    def close(self) -> None:
        """Let no further job in; those inside go on."""
        with self._changed:
            self._model = None

    @contextmanager
    def entering(self, model: str) -> Iterator[bool]:
        """Claim and run jobs of this model in the body, if the value is true; the model then stays loaded meanwhile."""
        with self._changed:
            is_open = self._model == model
            self._inside += is_open
        try:
            yield is_open
        finally:
            with self._changed:
                self._inside -= is_open
                self._changed.notify_all()

    def wait_empty(self, seconds: float) -> bool:
        """Wait until no thread is inside, at most that long; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._inside, seconds)


class ClaimsUnderWay:
    """Counts threads that claim or run a job, so that of two that claim at once one knows of the other. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @contextmanager
    def begin(self) -> Iterator[int]:
        """Claim and run in the body; the value is the number of threads that began before and have not ended."""
        with self._lock:
            others, self._count = self._count, self._count + 1
        try:
            yield others
        finally:
            with self._lock:
                self._count -= 1
