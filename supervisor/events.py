"""Events that the supervisor waits for: children that end, freeze or are wanted, and stop signals."""

from __future__ import annotations

import queue
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from supervisor.child import Child

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class ChildEnded:
    """The process and all its descendants have ended."""

    child: Child


@dataclass(frozen=True)
class ChildFrozen:
    """A signal such as SIGSTOP has stopped the process."""

    child: Child


@dataclass(frozen=True)
class StopRequested:
    """A stop signal such as Ctrl-C arrived."""

    signal_name: str


@dataclass(frozen=True)
class Wanted:
    """Jobs wait for children that start on demand."""


Event = ChildEnded | ChildFrozen | StopRequested | Wanted


class Events:
    """A queue that threads and signal handlers put events into and the main thread reads."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Event] = queue.SimpleQueue()  # its `put` is reentrant: safe in a signal handler

    def child_ended(self, child: Child) -> None:
        self._queue.put(ChildEnded(child))

    def child_frozen(self, child: Child) -> None:
        self._queue.put(ChildFrozen(child))

    def wanted(self) -> None:
        self._queue.put(Wanted())

    def next(self, timeout_seconds: float) -> Event | None:
        """Return the next event, or None when none arrives in time."""
        try:
            return self._queue.get(timeout=max(timeout_seconds, 0.0))
        except queue.Empty:
            return None

    @contextmanager
    def catching_signals(self) -> Iterator[None]:
        """Turn stop signals into events within the block."""
        before = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._queue.put(StopRequested(signal.Signals(number).name))
