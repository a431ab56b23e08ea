"""An event that signal handlers may set."""

from __future__ import annotations

import queue


class StopEvent:
    """`threading.Event` for signal handlers.

    A handler runs in the main thread between two instructions. `threading.Event.set` takes the lock that the main
    thread may hold inside `wait` or `set` at that moment: a deadlock. `queue.SimpleQueue.put` is reentrant.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_set = False

    def set(self) -> None:
        self._is_set = True
        self._queue.put(None)

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, seconds: float | None = None) -> bool:
        """Block until `set` was called, at most `seconds`; return whether it was."""
        if not self._is_set:
            try:
                self._queue.get(timeout=seconds)
            except queue.Empty:
                return self._is_set
            self._queue.put(None)  # for the other threads that wait
        return True
