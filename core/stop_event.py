"""An event that signal handlers may set."""

from __future__ import annotations

import os
import select
import weakref


class StopEvent:
    """`threading.Event` for signal handlers, made of a pipe.

    A handler runs in the main thread between two instructions. `threading.Event.set` takes the lock that the main thread
    may hold inside `wait` or `set` at that moment: a deadlock. Writing to a pipe takes no lock. A timed
    `queue.SimpleQueue.get` is no alternative: interrupted by a signal at its deadline, Python 3.11 blocks without a
    timeout.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._reader, self._writer = os.pipe()
        weakref.finalize(self, _close, self._reader, self._writer)

    def set(self) -> None:
        if not self._is_set:
            self._is_set = True
            os.write(self._writer, b"\0")

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, seconds: float | None = None) -> bool:
        """Block until `set` is called, at most `seconds`; return whether it was."""
        if not self._is_set:
            poll = select.poll()
            poll.register(self._reader, select.POLLIN)  # the byte is never read: every waiting thread sees it
            poll.poll(None if seconds is None else max(seconds, 0.0) * 1000)
        return self._is_set


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
