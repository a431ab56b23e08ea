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

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Write in the body; no other process that uses these turns writes meanwhile."""
        with self._lock:
            taken = self._take()
            try:
                yield
            finally:
                if taken is not None:
                    _release(taken, _NOW)

    @property
    def takes_turns(self) -> bool:
        """Whether this process waits for turns; false for a while after a wait that timed out."""
        return time.monotonic() >= self._ignored_until

    def _take(self) -> int | None:
        """Wait for this process's turn; return the descriptor that holds it, None to write without one."""
        descriptor = self._open() if self.takes_turns else None
        if descriptor is None:
            return None
        deadline = time.monotonic() + GIVE_UP_SECONDS
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
