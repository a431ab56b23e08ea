"""Counters of what happened to jobs since this process's first scrape, read from the events in the database.

Every process counts the whole farm, whichever part made a change: API, worker or reaper.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram

from core.lifecycle import TERMINAL, JobStatus
from db.database import Database
from db.metrics import SETTLE_SECONDS, JobChange, changes_after, newest_event

_WAITS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_RUNS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600, 1800)
MOST_READS = 5
"""Most reads of one scrape, of up to db.metrics.MOST_EVENTS each; the next scrape continues."""
_LOST = frozenset({"worker_lost", "worker_restarted"})


class JobMetrics:
    """Thread-safe. `settle_seconds`: the age from which an event counts; see db.metrics."""

    def __init__(self, registry: CollectorRegistry, settle_seconds: float | None = None) -> None:
        self._settle_seconds = SETTLE_SECONDS if settle_seconds is None else settle_seconds
        self._last: int | None = None
        self._lock = threading.Lock()

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(name, about, labels, registry=registry)

        self._submitted = counter("imagefarm_jobs_submitted", "Jobs that were accepted.", "model")
        self._finished = counter(
            "imagefarm_jobs_finished", "Jobs that ended, by their status and error code.", "model", "status", "code"
        )
        self._held = counter("imagefarm_jobs_held", "Times that a job was set aside as held.", "model", "code")
        self._requeued = counter(
            "imagefarm_jobs_requeued", "Times that a running job went back to the queue.", "model", "code"
        )
        self._attempts = counter("imagefarm_attempts", "Attempts that started.", "model")
        self._lost = counter("imagefarm_lease_losses", "Attempts whose worker was lost or restarted.", "model")
        self._wait = Histogram(
            "imagefarm_job_wait_seconds",
            "Time from submit to the first claim.",
            ["model"],
            buckets=_WAITS,
            registry=registry,
        )
        self._run = Histogram(
            "imagefarm_job_run_seconds",
            "Time from the last claim to success.",
            ["model"],
            buckets=_RUNS,
            registry=registry,
        )

    def know(self, models: Iterable[str]) -> None:
        """Report zero for what has not happened to these models, so that the first time is seen as an increase."""
        for model in models:
            for metric in (self._submitted, self._attempts, self._lost, self._wait, self._run):
                metric.labels(model)
            for status in sorted(TERMINAL):
                self._finished.labels(model, status, "")
            self._held.labels(model, "")
            self._requeued.labels(model, "")

    def read(self, database: Database) -> None:
        """Count what has happened since the last call. Raises Unavailable when the database does not answer."""
        with self._lock:
            newest = newest_event(database)
            if self._last is None:
                self._last = newest
            self._last = min(self._last, newest)  # SQLite gives the ids of deleted rows at the end again.
            for _ in range(MOST_READS):
                found = changes_after(database, self._last, self._settle_seconds)
                for change in found.changes:
                    self._count(change)
                self._last = found.upto
                if not found.more:
                    return

    def _count(self, change: JobChange) -> None:
        model, code = change.model, change.code or ""
        match change.before, change.after:
            case None, _:
                self._submitted.labels(model).inc()
            case _, JobStatus.RUNNING:
                self._attempts.labels(model).inc()
                if change.attempt == 1:
                    self._wait.labels(model).observe(max(change.since_submit, 0.0))
            case JobStatus.RUNNING, JobStatus.QUEUED:
                self._requeued.labels(model, code).inc()
            case _, JobStatus.HELD:
                self._held.labels(model, code).inc()
            case _, after if after in TERMINAL:
                self._finished.labels(model, after, "" if after == JobStatus.SUCCEEDED else code).inc()
        if change.before == JobStatus.RUNNING and code in _LOST:
            self._lost.labels(model).inc()
        if change.after == JobStatus.SUCCEEDED and change.since_start is not None:
            self._run.labels(model).observe(max(change.since_start, 0.0))
