"""Show Flower one task per job (task id = job id), with events sent under this worker's name.

Celery's own events would be wrong: a hint may start another job than the one it was sent for, and a duplicate hint none.
"""

from __future__ import annotations

from typing import Any

from celery import Celery

from core.celery_messages import event
from core.queue import RENDER_TASK, flower_kwargs
from db.tables import Job
from worker.events import EventPublisher


class FlowerEvents:
    """Publish the events of a worker's tasks by its publisher."""

    def __init__(self, events: EventPublisher, app: Celery, hostname: str) -> None:
        self._events = events
        self._clock = app.clock
        self._hostname = hostname

    def started(self, job: Job) -> None:
        """Report that the job was claimed."""
        shown = flower_kwargs(job.model, job.input) | {"worker": job.worker}
        self._send(
            "task-received",
            uuid=job.id,
            name=RENDER_TASK,
            args="()",
            kwargs=repr(shown),
            retries=job.attempt - 1,
            root_id=job.id,
        )
        self._send("task-started", uuid=job.id)

    def ended(self, job: Job, runtime_seconds: float) -> None:
        """Report that the attempt ended; `job` is the job after it."""
        match job.status:
            case "succeeded":
                self._send("task-succeeded", uuid=job.id, result="stored", runtime=runtime_seconds)
            case "canceled":
                self._send("task-revoked", uuid=job.id, terminated=True, signum=None, expired=False)
            case "queued":
                self._send("task-retried", uuid=job.id, exception=job.error_code or "", traceback="")
            case _:
                message = f"{job.error_code}: {job.error_message}"
                self._send("task-failed", uuid=job.id, exception=message, traceback="")

    def _send(self, kind: str, **fields: Any) -> None:  # noqa: ANN401 -- Celery's event fields
        self._events.task_event(event(kind, self._hostname, clock=self._clock.forward(), **fields))
