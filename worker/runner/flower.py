"""Show Flower one task per job (task id = job id), with events sent under this worker's name.

Celery's own events would be wrong: a hint may start another job than the one it was sent for, and a duplicate hint none.
"""

from __future__ import annotations

import logging
import queue
import threading
from contextlib import suppress
from typing import Any

from celery import Celery
from redis.exceptions import RedisError

from core.celery_messages import event, events_channel, events_message
from core.queue import RENDER_TASK, flower_kwargs
from core.settings import Settings
from db.redis_client import connect
from db.tables import Job

logger = logging.getLogger(__name__)

BUFFER_SECONDS = 0.05
"""Events that follow the first one within this time share its message."""
_BACKLOG, _MAX_PER_MESSAGE = 2000, 500


class FlowerEvents:
    """Send task events from a thread of its own; events are dropped while the broker is unavailable."""

    def __init__(self, settings: Settings, app: Celery, hostname: str) -> None:
        self._clock = app.clock
        self._hostname = hostname
        self._redis = connect(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)
        self._channel = events_channel(settings.redis_prefix, self._redis.get_connection_kwargs().get("db") or 0)
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue(_BACKLOG)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flower-events", daemon=True)
        self._thread.start()

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
        self._closing.set()
        self._put(None)
        self._thread.join(timeout=1)
        self._redis.close()

    def _send(self, kind: str, **fields: Any) -> None:  # noqa: ANN401 -- Celery's event fields
        self._put(event(kind, self._hostname, clock=self._clock.forward(), **fields))

    def _put(self, event: dict[str, Any] | None) -> None:
        try:
            self._events.put_nowait(event)
        except queue.Full:
            logger.debug("dropped an event for Flower: the broker is unavailable or slow")

    def _run(self) -> None:
        while (first := self._events.get()) is not None:
            self._closing.wait(BUFFER_SECONDS)
            events = [first, *self._waiting()]
            try:
                self._redis.publish(self._channel, events_message(events))
            except (RedisError, OSError) as error:
                logger.debug("the broker did not take events for Flower: %s", error)

    def _waiting(self) -> list[dict[str, Any]]:
        """Return the events that have queued up; leave the mark of the end in the queue."""
        found: list[dict[str, Any]] = []
        with suppress(queue.Empty):
            while len(found) < _MAX_PER_MESSAGE:
                if (event := self._events.get_nowait()) is None:
                    self._put(None)
                    break
                found.append(event)
        return found
