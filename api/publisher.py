"""Publish hints and job changes to Redis from a background thread, so that no request waits for it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from redis.exceptions import RedisError

from core.celery_messages import events_channel, events_message, hint_message, sent_event
from core.queue import JobChange, RedisKeys, changes_message, flower_kwargs, render_queue
from core.settings import Settings
from db.database import Database
from db.hints import clear_hints
from db.jobs.read import change_of
from db.redis_client import Command, CommandSender, connect
from db.tables import Job

logger = logging.getLogger(__name__)

_BACKLOG = 10_000
COOL_DOWN_SECONDS = 1.5
"""Send nothing for this long after a failure: an unresponsive Redis would otherwise cost a time-out per message."""
_CLOSE_SECONDS = 5.0


_MOST_PER_ROUND_TRIP = 200

M = TypeVar("M")
T = TypeVar("T")


Finish = Callable[[], object]
"""Waits until messages that were sent have arrived; raises where they have not."""


def _nothing() -> None:
    """Do nothing."""


class SendQueue(Generic[M]):
    """Sends messages on its own thread, in order; what queues up meanwhile is sent in one round trip.

    `begin` sends the messages of a round trip, as far as that needs no wait, and returns what does the rest. `undo` gets
    those that were not sent, or perhaps not.
    """

    def __init__(self, begin: Callable[[Sequence[M]], Finish], undo: Callable[[Sequence[M]], object]) -> None:
        self._begin, self._undo_all = begin, undo
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

    def send_here(self, message: M, meanwhile: Callable[[], object]) -> None:
        """Send a message on this thread, or queue it where another thread sends; `meanwhile` runs before this one waits."""
        if not self._waiting.empty() or not self._sending.acquire(blocking=False):
            self.send(message)
            meanwhile()
            return
        try:
            self._send_or_undo([message], meanwhile)
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

    def _send_or_undo(self, messages: Sequence[M], meanwhile: Callable[[], object] = _nothing) -> None:
        finish = None if self.broken else self._try(partial(self._begin, messages))
        try:
            meanwhile()
        finally:
            if finish is None or self._try(partial(_done, finish)) is None:
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

    def _try(self, step: Callable[[], T]) -> T | None:
        """Return the result of a step of sending; None when it failed, which is logged."""
        try:
            return step()
        except (RedisError, OSError) as error:
            logger.warning("cannot send messages to Redis (%s); the reaper publishes hints again", error)
            self._closed_until = time.monotonic() + COOL_DOWN_SECONDS
        except Exception:
            logger.exception("messages could not be sent")
        return None

    def _undo(self, messages: Sequence[M]) -> None:
        try:
            self._undo_all(messages)
        except Exception:
            logger.exception("cannot record that hints were not sent")


def _done(finish: Finish) -> bool:
    finish()
    return True


_TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True)
class _Hint:
    job: Job


@dataclass(frozen=True)
class _CancelRequest:
    job_id: str


_Message = _Hint | JobChange | _CancelRequest


class Publisher:
    """Publishes hints, changes and cancels after the commit.

    No method raises, or waits for Redis, unless it says so: the reaper republishes lost hints.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._prefix = settings.redis_prefix
        self._keys = RedisKeys(settings.redis_prefix)
        self._redis = connect(settings.redis_url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS)
        self._sender = CommandSender(self._redis)
        self._events = events_channel(settings.redis_prefix, self._redis.get_connection_kwargs().get("db") or 0)
        self.send_queue = SendQueue[_Message](self._begin, self._undo)

    def hint(self, job: Job) -> None:
        """Publish a hint for a worker; Flower shows it as the task of this job."""
        self.send_queue.send(_Hint(job))

    def hint_here(self, job: Job, meanwhile: Callable[[], object]) -> None:
        """Publish a hint on this thread, if it is free to, which waits for Redis then; `meanwhile` runs before the wait."""
        self.send_queue.send_here(_Hint(job), meanwhile)

    def changed(self, job: Job) -> None:
        """Publish the job's new revision to other API processes."""
        self.send_queue.send(change_of(job))

    def cancel_requested(self, job: Job) -> None:
        """Publish the cancel request to the worker of the job, which otherwise reads it at its next heartbeat."""
        self.send_queue.send(_CancelRequest(job.id))

    def close(self) -> None:
        """Send the queued messages, then close the connections."""
        self.send_queue.close()
        self._sender.close()
        self._redis.close()

    def _begin(self, messages: Sequence[_Message]) -> Finish:
        """Send the messages in one round trip; return what waits for its answers, and for a connection where there is none.

        A hint that may be sent twice does no harm.
        """
        commands = self._commands(messages)
        if not self._sender.is_connected:
            return partial(self._sender.run, commands)
        self._sender.send(commands)
        return self._sender.read_answers

    def _commands(self, messages: Sequence[_Message]) -> list[Command]:
        commands: list[Command] = []
        jobs = [message.job for message in messages if isinstance(message, _Hint)]
        events = []
        for job in jobs:
            shown = flower_kwargs(job.model, job.input)
            queue_key = f"{self._prefix}{render_queue(job.model)}"
            commands.append(("LPUSH", queue_key, hint_message(job.id, job.model, shown)))
            events.append(sent_event(job.id, job.model, shown))
        if events:
            commands.append(("PUBLISH", self._events, events_message(events)))
        if changes := [each for each in messages if isinstance(each, JobChange)]:
            commands.append(("PUBLISH", self._keys.changes, changes_message(changes)))
        canceled = [message.job_id for message in messages if isinstance(message, _CancelRequest)]
        return commands + [("PUBLISH", self._keys.cancels, job_id) for job_id in canceled]

    def _undo(self, messages: Sequence[_Message]) -> None:
        if job_ids := [message.job.id for message in messages if isinstance(message, _Hint)]:
            clear_hints(self._database, job_ids)
