"""For how long Celery's consumer waits for hints: that of a busy worker leaves them to idle ones."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from core.errors import Unavailable

logger = logging.getLogger(__name__)

RENEW_SECONDS = 0.5
"""How long an answer counts. Each busy worker that leaves hints to others asks so often, in Redis."""
BUSY_WAIT_SECONDS = 1.0
"""How long a busy worker waits at a time where no other is idle; one may become so meanwhile."""
LOOK_AGAIN_SECONDS = 0.2
"""A hint that still waits after this time is one that no idle worker takes."""
OPEN_SECONDS = 1.0
"""How long a busy worker listens once a hint waits that no idle one takes; it may be passed on many times in this time."""


class Listening:
    """Thread-safe. `is_busy` returns at once; the others may wait, and run on a thread of this object.

    `another_is_idle`: a worker that takes hints. `oldest_hint`: the message that has waited for longest. `on_change` is
    called on that thread when the consumer, which was told not to wait for hints, may wait for them again.
    """

    def __init__(
        self, is_busy: Callable[[], bool], another_is_idle: Callable[[], bool], oldest_hint: Callable[[], bytes | None]
    ) -> None:
        self._is_busy = is_busy
        self._another_is_idle = another_is_idle
        self._oldest_hint = oldest_hint
        self._seen: bytes | None = None
        """The hint that waited at the last look."""
        self.on_change: Callable[[], object] = lambda: None
        self._leaves = False
        self._is_open = False
        """Whether it listens because a hint waits that no idle worker takes."""
        self._was_told_to_leave = False
        """Whether the consumer was told so since it was woken last: it may sleep."""
        self._renews = False
        """Whether the thread asks again by itself: the consumer sleeps until something happens, and does not ask."""
        self._counts_until = float("-inf")
        self._due = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="listening", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._due.set()

    def seconds(self) -> float | None:
        """Return at once for how long to wait for a hint: 0 where this worker leaves them to others, None if it is idle.

        That is by the latest answer; an old one is renewed meanwhile, again and again while it is 0.
        """
        if not self._is_busy():
            return None
        if time.monotonic() > self._counts_until or (self._leaves and not self._renews):
            self._due.set()
        if leaves := self._leaves:
            self._was_told_to_leave = True
            leaves = self._leaves  # Again: it may have changed before the thread could see that.
        return 0.0 if leaves else BUSY_WAIT_SECONDS

    def note_idle(self) -> None:
        """Note that another worker is idle, as the use of a hint has shown; the latest answer may be older."""
        if not self._is_open:
            self._leaves, self._counts_until = True, time.monotonic() + RENEW_SECONDS

    def _run(self) -> None:
        while True:
            self._due.wait(self._seconds_to_renewal())
            self._due.clear()
            if self._stopping:
                return
            if time.monotonic() <= self._counts_until:
                continue
            self._renew()
            if self._was_told_to_leave and not self._leaves:
                self._was_told_to_leave = False
                self.on_change()

    def _seconds_to_renewal(self) -> float | None:
        """Return how long until the answer must be renewed; None where that is soon enough once the consumer asks."""
        self._renews = False  # First: the consumer of a worker that becomes busy after the question then sets `_due`.
        if not (self._leaves and self._is_busy()):
            return None
        self._renews = True
        return max(self._counts_until - time.monotonic(), 0.0)

    def _renew(self) -> None:
        counts_for, waiting = RENEW_SECONDS, None
        self._is_open = False
        try:
            leaves = self._another_is_idle()
            if leaves and (waiting := self._oldest_hint()) is not None:
                # What counts as idle may have lost its power just now.
                self._is_open = waiting == self._seen
                leaves, counts_for = not self._is_open, OPEN_SECONDS if self._is_open else LOOK_AGAIN_SECONDS
        except Unavailable:
            leaves = False
        except Exception:
            logger.exception("could not ask for idle workers; this one waits for hints")
            leaves = False
        self._seen = waiting
        self._leaves, self._counts_until = leaves, time.monotonic() + counts_for
