"""A watchdog timer: call back when a deadline passes without having been moved or removed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

Deadline = Callable[[str], AbstractContextManager[object]]
"""A context manager that bounds the duration of its body; the argument describes the body."""


class Watchdog:
    """One deadline, watched by a thread: `arm` sets or moves it, `disarm` removes it, `close` ends the thread."""

    def __init__(self, on_expire: Callable[[str], None]) -> None:
        self._on_expire = on_expire
        self._changed = threading.Condition()
        self._deadline: float | None = None
        self._wakes_at = 0.0  # when the thread looks next; a later deadline need not wake it
        self._reason = ""
        self._closed = False
        threading.Thread(target=self._watch, name="engine-watchdog", daemon=True).start()

    def arm(self, seconds: float, reason: str) -> None:
        """Call `on_expire(reason)` once, unless the deadline is moved or removed within `seconds`."""
        with self._changed:
            self._deadline, self._reason = time.monotonic() + seconds, reason
            if self._deadline < self._wakes_at:
                self._changed.notify()

    def disarm(self) -> None:
        with self._changed:
            self._deadline = None

    @contextlib.contextmanager
    def within(self, seconds: float, what: str) -> Iterator[None]:
        """Arm the watchdog while the body, described by `what`, runs."""
        self.arm(seconds, f"{what} took longer than {seconds:g} s")
        try:
            yield
        finally:
            self.disarm()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _watch(self) -> None:
        while (reason := self._wait_for_expiry()) is not None:
            self._on_expire(reason)

    def _wait_for_expiry(self) -> str | None:
        with self._changed:
            while not self._closed:
                left = None if self._deadline is None else self._deadline - time.monotonic()
                if left is not None and left <= 0:
                    self._deadline = None
                    return self._reason
                self._wakes_at = float("inf") if self._deadline is None else self._deadline
                self._changed.wait(left)
        return None
