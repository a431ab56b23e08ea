"""Show Flower one task per job (task id = job id), with events sent under this worker's name.

Celery's own events would be wrong: a hint may start another job than the one it was sent for, and a duplicate hint none.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import Any

from celery import Celery

from core.queue import RENDER_TASK, flower_kwargs, render_queue
from db.tables import Job

logger = logging.getLogger(__name__)

BUFFER_SECONDS = 0.05
"""Events that follow each other this closely share a message, at most two dozen."""


class FlowerEvents:
    """Send task events from a thread of its own; events are dropped while the broker is unavailable."""

    def __init__(self, app: Celery, hostname: str) -> None:
        self._app = app
        self._hostname = hostname
        self._events: queue.Queue[tuple[str, dict[str, Any]] | None] = queue.Queue(1000)
        self._thread = threading.Thread(target=self._run, name="flower-events", daemon=True)
        self._thread.start()

    def sent(self, job: Job) -> None:
        """Report that a hint for the job was sent to the broker."""
        shown = repr(flower_kwargs(job.model, job.input))
        queue_name = render_queue(job.model)
        self._send("task-sent", uuid=job.id, name=RENDER_TASK, args="()", kwargs=shown, root_id=job.id, queue=queue_name)

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

    def close(self) -> None:
        """Send the remaining events, for at most one second."""
        self._put(None)
        self._thread.join(timeout=1)

    def _send(self, kind: str, **fields: Any) -> None:  # noqa: ANN401 -- Celery's event fields
        self._put((kind, {**fields, "timestamp": time.time()}))

    def _put(self, event: tuple[str, dict[str, Any]] | None) -> None:
        try:
            self._events.put_nowait(event)
        except queue.Full:
            logger.debug("dropped an event for Flower: the broker is unavailable or slow")

    def _run(self) -> None:
        while (event := self._events.get()) is not None:
            try:
                self._stream(event)
            except Exception as error:  # noqa: BLE001 -- kombu raises what its transport raises
                logger.debug("the broker did not take an event for Flower: %s", error)

    def _stream(self, first: tuple[str, dict[str, Any]]) -> None:
        """Send events over one connection as long as it works; events that queue up share a message."""
        with self._app.connection_for_write(transport_options=self._app.conf.broker_transport_options) as connection:
            dispatcher = self._app.events.Dispatcher(
                connection, hostname=self._hostname, buffer_while_offline=False, buffer_group=frozenset({"task"})
            )
            with dispatcher:
                event: tuple[str, dict[str, Any]] | None = first
                while event is not None:
                    dispatcher.send(event[0], **event[1])
                    event = self._next(dispatcher)
        self._put(None)

    def _next(self, dispatcher: Any) -> tuple[str, dict[str, Any]] | None:  # noqa: ANN401 -- Celery's dispatcher
        """Return the next event; flush the dispatcher when there is none for the moment."""
        try:
            return self._events.get(timeout=BUFFER_SECONDS)
        except queue.Empty:
            dispatcher.flush()
            return self._events.get()
