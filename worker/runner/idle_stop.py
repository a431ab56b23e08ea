"""Stop a worker that has had no job for a while, where `imagefarm up` starts it again on demand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from worker.runner.attempts import InFlightAttempts


class IdleStop:
    """Calls `on_idle` once, on a thread of its own, after `seconds` without a job and without a `note`."""

    def __init__(self, attempts: InFlightAttempts, seconds: float, on_idle: Callable[[], object]) -> None:
        self._attempts = attempts
        self._seconds = seconds
        self._on_idle = on_idle
        self._active_at = time.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="idle-stop", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def note(self) -> None:
        """Record that the engine works for a job, or has just loaded."""
        self._active_at = time.monotonic()

    def stop(self) -> None:
        """Do not call `on_idle` any more."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(max(self._active_at + self._seconds - time.monotonic(), 0.0)):
            if len(self._attempts):
                self.note()
            elif time.monotonic() >= self._active_at + self._seconds:
                self._on_idle()
                return
