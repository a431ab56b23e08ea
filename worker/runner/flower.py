"""What Flower sees: one task per job (task id = job id), its events sent by hand under this worker's name.

A hint may lead to another job than its own and a duplicate hint to none, so Celery's own events would tell tales.
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

BATCH_SECONDS = 0.05
"""Events that follow each other this closely travel together, two dozen in a message at most."""


class FlowerEvents:
    """Sends task events from a thread of its own; a broker that is away costs events, never time."""

    def __init__(self, app: Celery, hostname: str) -> None:
        self._app = app
        self._hostname = hostname
        self._events: queue.Queue[tuple[str, dict[str, Any]] | None] = queue.Queue(1000)
        self._thread = threading.Thread(target=self._run, name="flower-events", daemon=True)
        self._thread.start()

    def sent(self, job: Job) -> None:
        """A hint for the job went to the broker."""
        shown = repr(flower_kwargs(job.model, job.input))
        queue_name = render_queue(job.model)
        self._send("task-sent", uuid=job.id, name=RENDER_TASK, args="()", kwargs=shown, root_id=job.id, queue=queue_name)

    def started(self, job: Job) -> None:
        """The job was claimed."""
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
        """The attempt ended and left the job in this state."""
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
        """Sends what is waiting, for a second at most."""
        self._put(None)
        self._thread.join(timeout=1)

    def _send(self, kind: str, **fields: Any) -> None:  # noqa: ANN401 -- Celery's event fields
        self._put((kind, {**fields, "timestamp": time.time()}))

    def _put(self, event: tuple[str, dict[str, Any]] | None) -> None:
        try:
            self._events.put_nowait(event)
        except queue.Full:
            logger.debug("dropped an event for Flower: the broker is away or slow")

    def _run(self) -> None:
        while (event := self._events.get()) is not None:
            try:
                self._stream(event)
            except Exception as error:  # noqa: BLE001 -- kombu raises what its transport raises
                logger.debug("the broker did not take an event for Flower: %s", error)

    def _stream(self, first: tuple[str, dict[str, Any]]) -> None:
        """Keeps one connection for as long as it works; what has come in meanwhile goes out as one message."""
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
        """The event to send next; what was sent before leaves when there is none for the moment."""
        try:
            return self._events.get(timeout=BATCH_SECONDS)
        except queue.Empty:
            dispatcher.flush()
            return self._events.get()
