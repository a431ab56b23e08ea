"""Publish hints and job changes to Redis from a background thread, so that no request waits for it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from core.queue import RENDER_TASK, RedisKeys, celery_config, change_message, flower_kwargs, render_queue
from core.settings import Settings
from db.database import Database
from db.hints import clear_hint
from db.tables import Job

logger = logging.getLogger(__name__)

_BACKLOG = 10_000
COOL_DOWN_SECONDS = 1.5
"""After a failure nothing is tried for this long: a black hole would otherwise cost a time-out per message."""
_CLOSE_SECONDS = 5.0


def _nothing() -> None:
    """There is nothing to undo."""


class SendQueue:
    """Runs sendings in order; one that fails, finds no room, or comes while Redis is away ends in its `undo`."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[Callable[[], object], Callable[[], object]] | None] = queue.Queue(_BACKLOG)
        self._turned_away: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._closed_until = 0.0
        self._thread = threading.Thread(target=self._run, name="hint-send", daemon=True)
        self._thread.start()

    @property
    def broken(self) -> bool:
        """Whether sending failed a moment ago and is not tried now."""
        return time.monotonic() < self._closed_until

    def send(self, send: Callable[[], object], undo: Callable[[], object] = _nothing) -> None:
        """Queues a sending and returns at once; `undo` runs on the outbox's own thread."""
        try:
            self._waiting.put_nowait((send, undo))
        except queue.Full:
            logger.warning("the outbox is full: Redis is slow or away")
            if undo is not _nothing:
                self._turned_away.put(undo)  # the thread has messages before it, so it will come by

    def close(self) -> None:
        """Sends what waits, for a few seconds at most."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=_CLOSE_SECONDS)
            self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            send, undo = item
            if self.broken or not self._tried(send):
                self._undo(undo)
            self._undo_turned_away()

    def _undo_turned_away(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._undo(self._turned_away.get_nowait())

    def _tried(self, send: Callable[[], object]) -> bool:
        try:
            send()
        except (OperationalError, RedisError, OSError) as error:
            logger.warning("Redis did not take a message (%s); the reaper sends hints again", error)
            self._closed_until = time.monotonic() + COOL_DOWN_SECONDS
            return False
        except Exception:
            logger.exception("a message could not be sent")
            return False
        return True

    def _undo(self, undo: Callable[[], object]) -> None:
        try:
            undo()
        except Exception:
            logger.exception("an unsent hint could not be noted")


_TIMEOUT_SECONDS = 1.0


class Publisher:
    """Call after the commit. Nothing here waits for Redis or raises: the reaper publishes again what was lost."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._keys = RedisKeys(settings.redis_prefix)
        self._celery = _celery(settings)
        self._redis = Redis.from_url(
            settings.redis_url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS
        )
        self.send_queue = SendQueue()

    def hint(self, job: Job) -> None:
        """Tells a worker that there is work; Flower shows the hint as a task of this job."""
        job_id, model, shown = job.id, job.model, flower_kwargs(job.model, job.input)
        self.send_queue.send(lambda: self._send_task(job_id, model, shown), undo=lambda: clear_hint(self._database, job_id))

    def changed(self, job: Job) -> None:
        """Tells other API processes that the job has a new revision."""
        message = change_message(job.id, job.revision, job.status)
        self.send_queue.send(lambda: self._redis.publish(self._keys.changes, message))

    def cancel_requested(self, job: Job) -> None:
        """Tells the worker that holds the job; without it the worker learns at its next heartbeat."""
        job_id = job.id
        self.send_queue.send(lambda: self._redis.publish(self._keys.cancels, job_id))

    def close(self) -> None:
        """Sends what waits, then closes the connections."""
        self.send_queue.close()
        self._redis.close()
        self._celery.close()

    def _send_task(self, job_id: str, model: str, shown: dict[str, object]) -> None:
        self._celery.send_task(
            RENDER_TASK,
            args=(job_id,),
            kwargs=shown,
            task_id=job_id,
            queue=render_queue(model),
            headers={"deferrals": 0},
            retry=False,
        )


def _celery(settings: Settings) -> Celery:
    app = Celery("imagefarm-api", set_as_current=False)
    app.conf.update(celery_config(settings))
    app.conf.broker_transport_options = app.conf.broker_transport_options | {
        "socket_timeout": _TIMEOUT_SECONDS,
        "socket_connect_timeout": _TIMEOUT_SECONDS,
        "max_retries": 0,
    }
    return app
