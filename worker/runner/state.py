"""What the worker says of itself in its row: loading, ready, draining, failed, stopped."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from worker.runner.loading_spans import LoadingSpans


@dataclass(frozen=True)
class Snapshot:
    """As `db.workers.beat` takes it; None leaves a column as it is."""

    state: str = "loading"
    message: str | None = None
    capacity: int | None = None
    info: Mapping[str, Any] | None = None


class WorkerState:
    """Thread-safe holder of the latest snapshot."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._snapshot = Snapshot()
        self.loading = LoadingSpans()

    def snapshot(self) -> Snapshot:
        """The state as it is now."""
        return self._snapshot

    def change(self, state: str, message: str | None = None, **details: Any) -> None:  # noqa: ANN401 -- capacity, info
        """A draining worker stays draining, whatever its engine does, until it has stopped."""
        with self._lock:
            self.loading.note(state)
            if self._snapshot.state == "draining" and state != "stopped":
                state = "draining"
            self._snapshot = replace(self._snapshot, state=state, message=message, **details)

    def tell(self, info: Mapping[str, Any]) -> None:
        """More of what the worker says of its engine; the state is as it was."""
        with self._lock:
            self._snapshot = replace(self._snapshot, info=info)

    @property
    def draining(self) -> bool:
        """Whether it has been told to stop."""
        return self._snapshot.state in ("draining", "stopped")
