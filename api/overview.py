"""Snapshot of the workers, at most a second old, shared by all requests of this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from api.threads import in_thread
from core.queue import UPSCALE, window_size
from db.database import Database
from db.statistics import Waiting, waiting_work
from db.tables import Worker, WorkerModel
from db.worker_models import models_by_worker
from db.workers import running_jobs, workers_and_live

T = TypeVar("T")

FRESH_SECONDS = 1.0
RESTART_SECONDS = 600.0
"""A worker seen within this time may be restarting: jobs for it are still accepted."""


@dataclass(frozen=True)
class Overview:
    """All registered workers, the names of the live ones, and the models of each and its number of jobs by its name.

    `waiting`: the next queued jobs by model. `running_seconds`: for how long the jobs of each worker have run, their mean.
    """

    workers: Sequence[Worker]
    live_names: frozenset[str]
    models: Mapping[str, Sequence[WorkerModel]] = field(default_factory=dict)
    running: Mapping[str, int] = field(default_factory=dict)
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    running_seconds: Mapping[str, float] = field(default_factory=dict)
    at: float = field(default_factory=time.monotonic)
    _kept: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return what `compute` returned for this key first: requests share what takes longer the more workers there are."""
        if key not in self._kept:
            self._kept[key] = compute()
        found: T = self._kept[key]
        return found

    @property
    def live(self) -> list[Worker]:
        """Return the workers that render, with a recent heartbeat, that have not stopped or failed."""
        return [worker for worker in self.workers if worker.name in self.live_names and worker.model != UPSCALE]

    def serving(self, model: str) -> Sequence[Worker]:
        """Return the live workers that render a model, whether it is loaded or not, or that serve core.queue.UPSCALE."""
        return self.once(("serving", model), lambda: self._serving(model))

    def _serving(self, model: str) -> Sequence[Worker]:
        if model == UPSCALE:
            return [worker for worker in self.workers if worker.name in self.live_names and worker.model == UPSCALE]
        return [worker for worker in self.live if self.serves(worker, model)]

    def was_serving(self, model: str) -> bool:
        """Return whether a worker of the model was seen within RESTART_SECONDS: it may be restarting."""
        since = time.time() - RESTART_SECONDS
        return any(worker.model == model and worker.state != "failed" and worker.seen_at > since for worker in self.workers)

    def serves(self, worker: Worker, model: str) -> bool:
        """Return whether the worker renders the model, and could load it when it tried last."""
        if worker.model == model:
            return True
        return model in self.listed(worker) and self.model_state(worker, model) != "unavailable"

    def listed(self, worker: Worker) -> list[str]:
        """Return the models that a worker was started with, the default first."""
        return [row.model for row in self.models.get(worker.name, ())] or [worker.model]

    def model_state(self, worker: Worker, model: str) -> str:
        """Return where the model is on a worker that lists it: loaded, loading, host_memory, on_disk or unavailable."""
        row = self.row(worker, model)
        if row is not None:
            return row.state
        return "loaded" if worker.state == "ready" else "loading"

    def row(self, worker: Worker, model: str) -> WorkerModel | None:
        """Return what a worker reports about one of its models; None of a worker that reports nothing."""
        return next((row for row in self.models.get(worker.name, ()) if row.model == model), None)

    def cold_start_seconds(self, model: str) -> float | None:
        """Return the longest start of a worker of the model, stopped ones included; None before one was seen."""
        reported = [
            worker.info.get("cold_start_seconds")
            for worker in self.workers
            if model in self.listed(worker) and (model != UPSCALE or worker.model == UPSCALE)
        ]
        return max((float(seconds) for seconds in reported if seconds is not None), default=None)

    def capacity(self, model: str) -> int:
        """Return how many jobs the live workers of a model can hold at once."""
        return self.once(("capacity", model), lambda: sum(worker.capacity for worker in self.serving(model)))

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
        return read_overview(self._database)


def read_overview(database: Database) -> Overview:
    """Read the present overview from the database."""
    found, models, running = workers_and_live(database), models_by_worker(database), running_jobs(database)
    workers = [worker for worker, _ in found]
    served = {worker.model for worker in workers} | {row.model for rows in models.values() for row in rows}
    return Overview(
        workers=workers,
        live_names=frozenset(worker.name for worker, is_live in found if is_live),
        models=models,
        running={name: jobs for name, (jobs, _) in running.items()},
        waiting=waiting_work(database, sorted(served)),
        running_seconds={name: seconds for name, (_, seconds) in running.items()},
    )
