"""Publish hints and job changes to Redis from a background thread, so that no request waits for it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from redis.exceptions import RedisError

from core.celery_messages import events_channel, events_message, hint_message, sent_event
from core.queue import JobChange, RedisKeys, changes_message, flower_kwargs, render_queue
from core.settings import Settings
from db.database import Database
from db.hints import clear_hints
from db.jobs.read import change_of
from db.redis_client import connect
from db.tables import Job

logger = logging.getLogger(__name__)

_BACKLOG = 10_000
COOL_DOWN_SECONDS = 1.5
"""Send nothing for this long after a failure: an unresponsive Redis would otherwise cost a time-out per message."""
_CLOSE_SECONDS = 5.0


_MOST_PER_ROUND_TRIP = 200

M = TypeVar("M")


class SendQueue(Generic[M]):
    """Sends messages on its own thread, in order; what queues up meanwhile is sent in one round trip.

    `send_all` gets the messages of a round trip. `undo` gets those that were not sent, or perhaps not.
    """

    def __init__(self, send_all: Callable[[Sequence[M]], object], undo: Callable[[Sequence[M]], object]) -> None:
        self._send_all, self._undo_all = send_all, undo
        self._waiting: queue.Queue[M | None] = queue.Queue(_BACKLOG)
        self._rejected: queue.SimpleQueue[M] = queue.SimpleQueue()
        self._closed_until = 0.0
        self._sending = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="hint-send", daemon=True)
        self._thread.start()

    @property
    def broken(self) -> bool:
        """Return whether sending failed less than COOL_DOWN_SECONDS ago."""
        return time.monotonic() < self._closed_until

    def send(self, message: M) -> None:
        """Queue a message and return at once; `undo` runs on the sending thread."""
        try:
            self._waiting.put_nowait(message)
        except queue.Full:
            logger.warning("the send queue is full: Redis is slow or unreachable")
            self._rejected.put(message)  # the queue is full, so the thread will pass here again

    def send_here(self, message: M) -> None:
        """Send a message on this thread and return once it is sent, or queue it where another thread sends."""
        if not self._waiting.empty() or not self._sending.acquire(blocking=False):
            self.send(message)
            return
        try:
            self._send_or_undo([message])
        finally:
            self._sending.release()

    def close(self) -> None:
        """Send the queued messages, for at most a few seconds."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=_CLOSE_SECONDS)
            self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        more = True
        while more:
            messages, more = self._collect()
            with self._sending:
                if messages:
                    self._send_or_undo(messages)
                self._undo_rejected()

    def _send_or_undo(self, messages: Sequence[M]) -> None:
        if self.broken or not self._try_send(messages):
            self._undo(messages)

    def _collect(self) -> tuple[list[M], bool]:
        """Wait for a message; return it with those behind it, and whether the queue is still open."""
        found: list[M] = []
        message = self._waiting.get()
        while message is not None:
            found.append(message)
            if self._waiting.empty() or len(found) >= _MOST_PER_ROUND_TRIP:
                return found, True
            message = self._waiting.get()
        return found, False

    def _undo_rejected(self) -> None:
        rejected: list[M] = []
        with suppress(queue.Empty):
            while True:
                rejected.append(self._rejected.get_nowait())
        if rejected:
            self._undo(rejected)

    def _try_send(self, messages: Sequence[M]) -> bool:
        try:
            self._send_all(messages)
        except (RedisError, OSError) as error:
            logger.warning("cannot send messages to Redis (%s); the reaper publishes hints again", error)
            self._closed_until = time.monotonic() + COOL_DOWN_SECONDS
            return False
        except Exception:
            logger.exception("messages could not be sent")
            return False
        return True

    def _undo(self, messages: Sequence[M]) -> None:
        try:
            self._undo_all(messages)
        except Exception:
            logger.exception("cannot record that hints were not sent")


_TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True)
class _Hint:
    job_id: str
    model: str
    shown: dict[str, Any]


@dataclass(frozen=True)
class _CancelRequest:
    job_id: str


_Message = _Hint | JobChange | _CancelRequest


class Publisher:
    """Publishes hints, changes and cancels after the commit.

    No method waits for Redis, unless it is told to send `here`, or raises: the reaper republishes lost hints.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._prefix = settings.redis_prefix
        self._keys = RedisKeys(settings.redis_prefix)
        self._redis = connect(settings.redis_url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS)
        self._pipeline = self._redis.pipeline(transaction=False)  # one for all: making one costs more than running it
        self._events = events_channel(settings.redis_prefix, self._redis.get_connection_kwargs().get("db") or 0)
        self.send_queue = SendQueue[_Message](self._send_all, self._undo)

    def hint(self, job: Job, here: bool = False) -> None:
        """Publish a hint for a worker; Flower shows it as the task of this job. `here`: on this thread, if it is free to."""
        send = self.send_queue.send_here if here else self.send_queue.send
        send(_Hint(job.id, job.model, flower_kwargs(job.model, job.input)))

    def changed(self, job: Job) -> None:
        """Publish the job's new revision to other API processes."""
        self.send_queue.send(change_of(job))

    def cancel_requested(self, job: Job) -> None:
        """Publish the cancel request to the worker of the job, which otherwise reads it at its next heartbeat."""
        self.send_queue.send(_CancelRequest(job.id))

    def close(self) -> None:
        """Send the queued messages, then close the connections."""
        self.send_queue.close()
        self._redis.close()

    def _send_all(self, messages: Sequence[_Message]) -> None:
        """Send the messages in one round trip. A hint that may be sent twice does no harm."""
        add: Callable[..., object] = (
            self._pipeline.execute_command
        )  # the methods for single commands cost more than sending them
        hints = [message for message in messages if isinstance(message, _Hint)]
        for hint in hints:
            add("LPUSH", f"{self._prefix}{render_queue(hint.model)}", hint_message(hint.job_id, hint.model, hint.shown))
        if hints:
            events = [sent_event(hint.job_id, hint.model, hint.shown) for hint in hints]
            add("PUBLISH", self._events, events_message(events))
        changes = [each for each in messages if isinstance(each, JobChange)]
        if changes:
            add("PUBLISH", self._keys.changes, changes_message(changes))
        for message in messages:
            if isinstance(message, _CancelRequest):
                add("PUBLISH", self._keys.cancels, message.job_id)
        self._pipeline.execute()

    def _undo(self, messages: Sequence[_Message]) -> None:
        if job_ids := [message.job_id for message in messages if isinstance(message, _Hint)]:
            clear_hints(self._database, job_ids)
