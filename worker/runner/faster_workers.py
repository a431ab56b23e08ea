"""Ask the database for faster workers of a model, and whether this idle one leaves them the next job."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from core.work import FASTER
from db.database import Database
from db.size_limits import SizeLimit
from db.worker_speeds import faster_workers, waiting_jobs
from worker.hints.queue import PASS_ON_PAUSE_SECONDS
from worker.runner.speed_preference import FasterWorker, SpeedPreference, gain
from worker.runner.worker_state import OwnSpeed

FRESH_SECONDS = 0.1
"""Threads that ask within this time share an answer."""
NONE_FASTER_SECONDS = 5.0
"""Without a faster worker, the next look is so much later: heartbeats bring news about as often."""
BUSY_PAUSE_SECONDS = 0.2
"""How long a hint is kept while the faster workers are busy: they claim their next job without one."""
MOST_WAITING = 64


class FasterWorkers:
    """Thread-safe. `sizes` returns the largest image of a model that this worker can hold."""

    def __init__(
        self,
        database: Database,
        model: str,
        own_name: str,
        sizes: Callable[[str], SizeLimit | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._model = model
        self._own_name = own_name
        self._sizes = sizes
        self._clock = clock
        self._preference = SpeedPreference(clock)
        self._lock = threading.Lock()
        self._next_look = float("-inf")
        self._pause = 0.0

    def pause_seconds(self, own: OwnSpeed) -> float:
        """Return for how long to keep a hint before another worker gets it; 0: claim the job here. Raises Unavailable."""
        with self._lock:
            if self._clock() >= self._next_look:
                self._pause, fresh_seconds = self._look(own)
                self._next_look = self._clock() + fresh_seconds
            return self._pause

    def _look(self, own: OwnSpeed) -> tuple[float, float]:
        """Return the pause, and how long the answer holds."""
        if not (faster := self._faster(own, None)):
            return 0.0, NONE_FASTER_SECONDS
        most = min(math.ceil(gain(own, faster)), MOST_WAITING)
        waiting = waiting_jobs(self._database, self._model, self._own_name, most, self._sizes(self._model))
        faster = self._faster(own, waiting[0]) if waiting else faster
        if not self._preference.leaves(own, faster, waiting):
            return 0.0, FRESH_SECONDS
        return PASS_ON_PAUSE_SECONDS if any(not each.running for each in faster) else BUSY_PAUSE_SECONDS, FRESH_SECONDS

    def _faster(self, own: OwnSpeed, job: str | None) -> list[FasterWorker]:
        rows = faster_workers(self._database, self._model, self._own_name, own.seconds / FASTER, job)
        return [FasterWorker(row.name, row.seconds, row.images, row.running) for row in rows]
