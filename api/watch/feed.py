"""A waiter for changes of all jobs of this farm, for one listener."""

from __future__ import annotations

from typing import Any

from api.watch.hub import Waiter

MAX_KEPT = 5000
"""Changed jobs that may wait for a slow reader; the oldest are dropped, and the next poll finds them again."""


class Feed(Waiter):
    """Keeps which jobs have changed, and the latest progress of each, until they are taken."""

    def __init__(self) -> None:
        super().__init__()
        self._changed: dict[str, None] = {}
        self._progress: dict[str, dict[str, Any]] = {}

    def changed(self, job_id: str) -> None:
        """Record that a job has a new revision."""
        self._changed[job_id] = None
        self._progress.pop(job_id, None)
        while len(self._changed) > MAX_KEPT:
            self._changed.pop(next(iter(self._changed)))
        self.wake()

    def progressed(self, job_id: str, progress: dict[str, Any]) -> None:
        """Record progress of a running job."""
        self._progress[job_id] = progress
        while len(self._progress) > MAX_KEPT:
            self._progress.pop(next(iter(self._progress)))
        self.wake()

    def take(self) -> tuple[list[str], dict[str, dict[str, Any]]]:
        """Return what was recorded since the last call: ids of changed jobs, and progress by id."""
        changed, progress = list(self._changed), self._progress
        self._changed, self._progress = {}, {}
        return changed, progress
