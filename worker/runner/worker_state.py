"""Hold who this worker is and what it reports: state, capacity, and when its engine was loading."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from core.ids import new_id
from core.settings import Settings


@dataclass(frozen=True)
class WorkerIdentity:
    """`name` outlives restarts; `incarnation` does not."""

    name: str
    incarnation: str = field(default_factory=new_id)


def worker_identity(settings: Settings) -> WorkerIdentity:
    """The configured name, else host and device (`CUDA_VISIBLE_DEVICES` tells cards of one host apart)."""
    device = settings.device
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None and device != "cpu":
        device = f"gpu{visible}"
    name = settings.worker_name or f"{socket.gethostname()}-{device}"
    return WorkerIdentity(re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:100])


MAX_SPANS = 16
"""Loads remembered; older ones are of no job that still waits, or hardly any."""


class LoadingSpans:
    """Times are of `clock`, in seconds: the monotonic one. A new worker is loading."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = clock()
        self._spans: deque[tuple[float, float]] = deque(maxlen=MAX_SPANS)

    def note(self, state: str) -> None:
        """The worker's state is now this one; it counts as loading from `loading` to `ready`."""
        if state == "loading" and self._since is None:
            self._since = self._clock()
        if state == "ready" and self._since is not None:
            self._spans.append((self._since, self._clock()))
            self._since = None

    def within(self, seconds: float, until: float) -> float:
        """How many of the `seconds` before `until` the engine was loading."""
        since = until - seconds
        return sum(max(min(end, until) - max(begin, since), 0.0) for begin, end in tuple(self._spans))


@dataclass(frozen=True)
class WorkerSnapshot:
    """As `db.workers.beat` takes it; None leaves a column as it is."""

    state: str = "loading"
    message: str | None = None
    capacity: int | None = None
    info: Mapping[str, Any] | None = None


class WorkerState:
    """Thread-safe holder of the latest snapshot."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._snapshot = WorkerSnapshot()
        self.loading = LoadingSpans()

    def snapshot(self) -> WorkerSnapshot:
        """The state as it is now."""
        return self._snapshot

    def change(self, state: str, message: str | None = None, **details: Any) -> None:  # noqa: ANN401 -- capacity, info
        """A draining worker stays draining, whatever its engine does, until it has stopped."""
        with self._lock:
            self.loading.note(state)
            if self._snapshot.state == "draining" and state != "stopped":
                state = "draining"
            self._snapshot = replace(self._snapshot, state=state, message=message, **details)

    def update_info(self, info: Mapping[str, Any]) -> None:
        """More of what the worker says of its engine; the state is as it was."""
        with self._lock:
            self._snapshot = replace(self._snapshot, info=info)

    @property
    def draining(self) -> bool:
        """Whether it has been told to stop."""
        return self._snapshot.state in ("draining", "stopped")
