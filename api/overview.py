"""Snapshot of the workers, at most a second old, shared by all requests of this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from api.threads import in_thread
from core.queue import UPSCALE, window_size
from db.database import Database
from db.tables import Worker
from db.workers import all_workers, live_workers

FRESH_SECONDS = 1.0
RESTART_SECONDS = 600.0
"""A worker seen within this time may be restarting: jobs for it are still accepted."""


@dataclass(frozen=True)
class Overview:
    """All registered workers, and the names of the live ones."""

    workers: Sequence[Worker]
    live_names: frozenset[str]
    at: float = field(default_factory=time.monotonic)

    @property
    def live(self) -> list[Worker]:
        """Return the workers that render, with a recent heartbeat, that have not stopped or failed."""
        return [worker for worker in self.workers if worker.name in self.live_names and worker.model != UPSCALE]

    def serving(self, model: str) -> list[Worker]:
        """Return the live workers of a model or of core.queue.UPSCALE, ready or loading."""
        return [worker for worker in self.workers if worker.name in self.live_names and worker.model == model]

    def was_serving(self, model: str) -> bool:
        """Return whether a worker of the model was seen within RESTART_SECONDS: it may be restarting."""
        since = time.time() - RESTART_SECONDS
        return any(worker.model == model and worker.state != "failed" and worker.seen_at > since for worker in self.workers)

    def capacity(self, model: str) -> int:
        """Return how many jobs the live workers of a model can hold at once."""
        return sum(worker.capacity for worker in self.serving(model))

    def window(self, model: str) -> int:
        """Return how many hints of this model may be in Redis at once."""
        return window_size(self.capacity(model))


class OverviewCache:
    """Caches the overview for FRESH_SECONDS."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._latest: Overview | None = None
        self._lock = asyncio.Lock()

    async def get(self) -> Overview:
        """Return the present overview; raise Unavailable when the database does not answer."""
        if (fresh := self._fresh()) is not None:
            return fresh
        async with self._lock:
            if (fresh := self._fresh()) is None:
                fresh = self._latest = await in_thread(self._read)
            return fresh

    def _fresh(self) -> Overview | None:
        latest = self._latest
        return latest if latest is not None and time.monotonic() - latest.at < FRESH_SECONDS else None

    def _read(self) -> Overview:
        live = frozenset(worker.name for worker in live_workers(self._database))
        return Overview(all_workers(self._database), live)
