"""Turns of the processes that write one SQLite file: a waiting writer starts as soon as the one before it has committed.

SQLite alone lets writers sleep for up to 100 ms between attempts, while the file is free. Its own lock still protects the
file: the turns only avoid its sleeps.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.errors import Unavailable

WAIT_SECONDS = 20.0
"""A writer waits this long for the other threads of its process, and then for SQLite's lock."""
LOCKED_WAIT_SECONDS = 1.0
"""After such a wait without effect the writers of this process wait only this long, until one succeeds: one behind the other
they would take all threads, and those who only read would wait too."""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.0001, 0.002
GIVE_UP_SECONDS = 4.0
"""A writer waits this long and then writes without a turn, since the holder may be frozen. SQLite's lock still protects."""
IGNORED_SECONDS = 10.0
"""Afterwards this process takes no turns for this long: waiting for each would be useless."""
_NEXT, _NOW = 0, 1
"""Bytes of the file. The holder of the first is the next writer, the holder of the second writes: nobody writes twice in a
row while another waits."""


class WriteTurns:
    """One per database and process; its threads wait for each other on a lock.

    `file` is created when it is first used; without one, only threads take turns.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._opened_by = 0
        self._ignored_until = float("-inf")
        self._locked = False

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Write in the body; no other process that uses these turns writes meanwhile.

        Raises Unavailable when other threads of this process write, or wait, for too long.
        """
        if not self._lock.acquire(timeout=self.wait_seconds):
            raise Unavailable(
                "The database does not answer (other writers wait for its lock). Try again in a few seconds.",
                code="database_unavailable",
            )
        try:
            taken = self._take()
            try:
                yield
            finally:
                if taken is not None:
                    _release(taken, _NOW)
        finally:
            self._lock.release()

    @property
    def wait_seconds(self) -> float:
        """Return how long a writer may wait for SQLite's lock."""
        return LOCKED_WAIT_SECONDS if self._locked else WAIT_SECONDS

    def note(self, *, locked: bool) -> None:
        """Note whether the last writer of this process waited for SQLite's lock without effect."""
        self._locked = locked

    @property
    def takes_turns(self) -> bool:
        """Whether this process waits for turns; false for a while after a wait that timed out."""
        return time.monotonic() >= self._ignored_until

    def _take(self) -> int | None:
        """Wait for this process's turn; return the descriptor that holds it, None to write without one."""
        descriptor = self._open() if self.takes_turns else None
        if descriptor is None:
            return None
        deadline = time.monotonic() + min(GIVE_UP_SECONDS, self.wait_seconds)
        is_next = _acquire(descriptor, _NEXT, deadline)
        is_now = is_next and _acquire(descriptor, _NOW, deadline)
        if is_next:
            _release(descriptor, _NEXT)
        if not is_now:
            self._ignored_until = time.monotonic() + IGNORED_SECONDS
        return descriptor if is_now else None

    def _open(self) -> int | None:
        """Return the file's descriptor; None where it cannot be opened, as in a folder that is not this user's."""
        if self._descriptor is None or self._opened_by != os.getpid():
            self._opened_by, self._descriptor = os.getpid(), None
            with suppress(OSError):
                if self._file is not None:
                    self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._descriptor

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._descriptor is not None and self._opened_by == os.getpid():
                os.close(self._descriptor)
            self._descriptor = None


def _acquire(descriptor: int, byte: int, deadline: float) -> bool:
    """Lock the byte for this process; return whether that succeeded before the deadline."""
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
            pause = min(pause * 1.2, _LONGEST_PAUSE_SECONDS)
        else:
            return True


def _release(descriptor: int, byte: int) -> None:
    with suppress(OSError):
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, byte)
