"""What Flower shows from the database: the jobs of before its start, and the queue of each model.

Flower's own persistence is a pickle, which nothing of a farm may load.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from flower.views import BaseHandler

from core.queue import RENDER_TASK, flower_kwargs, render_queue
from core.settings import Settings
from db.database import Database
from db.jobs.read import list_jobs
from db.tables import Job
from db.worker_models import models_by_worker

logger = logging.getLogger(__name__)

MOST_JOBS = 1000
_ENDS = {"succeeded": "task-succeeded", "canceled": "task-revoked", "failed": "task-failed", "held": "task-failed"}


class FarmView:
    """Reads the database on whichever thread calls `look` or `past_events`; neither raises."""

    def __init__(self, settings: Settings) -> None:
        self._database = Database(settings.resolved_database_url, pool_size=1)
        self.queue_names: frozenset[str] = frozenset()

    def look(self) -> None:
        """Note the queues of all models that workers serve, whether one is loaded or not."""
        try:
            rows = models_by_worker(self._database)
        except Exception as error:  # noqa: BLE001 -- Flower works without
            logger.debug("the queues could not be read: %s", error)
            return
        self.queue_names = frozenset(render_queue(row.model) for models in rows.values() for row in models)

    def past_events(self) -> list[dict[str, Any]]:
        """Return the events of the latest MOST_JOBS jobs, oldest first, as their workers sent them."""
        try:
            jobs = list_jobs(self._database, limit=MOST_JOBS)
        except Exception as error:  # noqa: BLE001 -- Flower works without
            logger.warning("Flower starts without earlier jobs: %s", error)
            return []
        return [event for job in reversed(jobs) for event in _events_of(job)]

    def show_queues(self) -> None:
        """Let Flower's broker page list these queues besides those that a worker takes jobs from now."""
        of_workers = BaseHandler.get_active_queue_names

        def names(handler: BaseHandler) -> list[str]:
            return sorted({*of_workers(handler), *self.queue_names} - {"celery"})

        BaseHandler.get_active_queue_names = names


def _events_of(job: Job) -> Iterator[dict[str, Any]]:
    shown = flower_kwargs(job.model, job.input)
    about = {"name": RENDER_TASK, "args": "()", "root_id": job.id, "queue": render_queue(job.model)}
    yield _event("task-sent", job, job.created_at, "api", kwargs=repr(shown), **about)
    if job.started_at is None or job.worker is None:
        if job.status in _ENDS and job.completed_at is not None:
            yield _event("task-revoked", job, job.completed_at, "api", terminated=False, signum=None, expired=False)
        return
    host = f"render@{job.worker}"
    kwargs = repr(shown | {"worker": job.worker})
    yield _event("task-received", job, job.started_at, host, kwargs=kwargs, retries=max(job.attempt - 1, 0), **about)
    yield _event("task-started", job, job.started_at, host)
    if job.completed_at is not None and (kind := _ENDS.get(job.status)) is not None:
        ended: dict[str, Any] = {"runtime": job.completed_at - job.started_at, "result": "stored"}
        if kind == "task-failed":
            ended = {"exception": f"{job.error_code}: {job.error_message}", "traceback": ""}
        if kind == "task-revoked":
            ended = {"terminated": True, "signum": None, "expired": False}
        yield _event(kind, job, job.completed_at, host, **ended)


def _event(kind: str, job: Job, at: float, host: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 -- Celery's fields
    """Return an event with the fields that Celery adds to each that it receives."""
    timing = {"timestamp": at, "local_received": at, "clock": 0, "utcoffset": 0, "pid": 0}
    return {"type": kind, "uuid": job.id, "hostname": host, **timing, **fields}
