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
"""Send nothing for this long after a failure: an unresponsive Redis would otherwise cost a time-out per message."""
_CLOSE_SECONDS = 5.0


def _no_undo() -> None:
    pass


class SendQueue:
    """Sends messages in order on its own thread; runs `undo` for each message that is not sent."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[Callable[[], object], Callable[[], object]] | None] = queue.Queue(_BACKLOG)
        self._rejected: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._closed_until = 0.0
        self._thread = threading.Thread(target=self._run, name="hint-send", daemon=True)
        self._thread.start()

    @property
    def broken(self) -> bool:
        """Return whether sending failed less than COOL_DOWN_SECONDS ago."""
        return time.monotonic() < self._closed_until

    def send(self, send: Callable[[], object], undo: Callable[[], object] = _no_undo) -> None:
        """Queue a message and return at once; `undo` runs on the sending thread."""
        try:
            self._waiting.put_nowait((send, undo))
        except queue.Full:
            logger.warning("the send queue is full: Redis is slow or unreachable")
            if undo is not _no_undo:
                self._rejected.put(undo)  # the queue is full, so the thread will pass here again

    def close(self) -> None:
        """Send the queued messages, for at most a few seconds."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=_CLOSE_SECONDS)
            self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            send, undo = item
            if self.broken or not self._try_send(send):
                self._undo(undo)
            self._undo_rejected()

    def _undo_rejected(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._undo(self._rejected.get_nowait())

    def _try_send(self, send: Callable[[], object]) -> bool:
        try:
            send()
        except (OperationalError, RedisError, OSError) as error:
            logger.warning("cannot send a message to Redis (%s); the reaper publishes hints again", error)
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
            logger.exception("cannot record that a hint was not sent")


_TIMEOUT_SECONDS = 1.0


class Publisher:
    """Publishes hints, changes and cancels after the commit.

    No method waits for Redis or raises: the reaper republishes lost hints.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._keys = RedisKeys(settings.redis_prefix)
        self._celery = _celery(settings)
        self._redis = Redis.from_url(
            settings.redis_url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS
        )
        self.send_queue = SendQueue()

    def hint(self, job: Job) -> None:
        """Publish a hint for a worker; Flower shows it as the task of this job."""
        job_id, model, shown = job.id, job.model, flower_kwargs(job.model, job.input)
        self.send_queue.send(lambda: self._send_task(job_id, model, shown), undo=lambda: clear_hint(self._database, job_id))

    def changed(self, job: Job) -> None:
        """Publish the job's new revision to other API processes."""
        message = change_message(job.id, job.revision, job.status)
        self.send_queue.send(lambda: self._redis.publish(self._keys.changes, message))

    def cancel_requested(self, job: Job) -> None:
        """Publish the cancel request to the worker of the job, which otherwise reads it at its next heartbeat."""
        job_id = job.id
        self.send_queue.send(lambda: self._redis.publish(self._keys.cancels, job_id))

    def close(self) -> None:
        """Send the queued messages, then close the connections."""
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
