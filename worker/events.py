"""Publish job events to Redis: state changes, progress, previews and task events. Best effort; never blocks a render."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from core.celery_messages import events_channel, events_message
from core.json_text import dump_json
from core.lifecycle import SETTLED
from core.queue import PROGRESS_TTL_SECONDS, JobChange, RedisKeys, changes_message
from core.settings import Settings
from db.jobs.read import change_of
from db.redis_client import Command, CommandSender, connect
from db.tables import Job

logger = logging.getLogger(__name__)

_MAX_BACKLOG, _MAX_PER_ROUND_TRIP = 3000, 500
_TTL = str(PROGRESS_TTL_SECONDS)
DELAY_SECONDS = 0.02
"""How long a start or a progress may wait for others that share its round trip. The end of a job is not held for that."""
MIN_INTERVAL_SECONDS = 0.005
"""Between two round trips: what ends meanwhile shares the next one."""
CROWD = 4
"""After a round trip with so many messages besides task events, the next one waits for CROWD_SECONDS."""
CROWD_SECONDS = 0.05
HOLD_SECONDS, HOLD_IN_CROWD_SECONDS = 0.05, 0.25
"""How long a progress is held, the latter while CROWD others are: it is not sent where a later one or the end of its job
comes meanwhile."""


@dataclass(frozen=True)
class _Progress:
    due: float
    report: dict[str, Any]


@dataclass(frozen=True)
class _Preview:
    key: str
    image: bytes


@dataclass(frozen=True)
class _TaskEvent:
    fields: dict[str, Any]


_Event = JobChange | _Preview | _TaskEvent


class EventPublisher:
    """Publish from a thread of its own; while Redis is slow or away, events are dropped without delaying renders.

    Events that follow each other share a round trip: all changes one message, all task events another, and of a job's
    progress only the latest.
    """

    def __init__(self, settings: Settings) -> None:
        self._keys = RedisKeys(settings.redis_prefix)
        self._redis = connect(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)
        self._sender = CommandSender(self._redis)
        self._task_events = events_channel(settings.redis_prefix, self._redis.get_connection_kwargs().get("db") or 0)
        self._events: deque[_Event] = deque()
        self._held: dict[str, _Progress] = {}
        """By job, the earliest due first: a later report takes the place of the earlier one."""
        self._waiting, self._urgent, self._closed = threading.Event(), threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def job_changed(self, job: Job) -> None:
        """Publish a job's new state. Call after the commit that changed it."""
        self._enqueue(change_of(job), urgent=job.status in SETTLED)

    def task_event(self, fields: dict[str, Any]) -> None:
        """Publish an event of Celery's format, which Flower and Celery's own commands read."""
        self._enqueue(_TaskEvent(fields))

    def progress(self, job_id: str, progress: dict[str, Any]) -> None:
        """Store the latest progress of a running job for PROGRESS_TTL_SECONDS and publish it to subscribers."""
        if len(self._held) >= _MAX_BACKLOG:
            logger.debug("dropped a progress: Redis is unavailable or slow")
            return
        held, is_first = self._held.get(job_id), not self._held
        hold = HOLD_IN_CROWD_SECONDS if len(self._held) >= CROWD else HOLD_SECONDS
        self._held[job_id] = _Progress(held.due if held else time.monotonic() + hold, progress)
        if is_first:
            self._waiting.set()

    def preview(self, job_id: str, index: int, image: bytes) -> None:
        """Store the latest preview of one image of a running job for PROGRESS_TTL_SECONDS."""
        self._enqueue(_Preview(self._keys.preview(job_id, index), image))

    def close(self) -> None:
        """Send the remaining events, for at most one second."""
        self._closed = True
        self._urgent.set()
        self._waiting.set()
        self._thread.join(timeout=1)
        self._sender.close()
        self._redis.close()

    def _enqueue(self, event: _Event, *, urgent: bool = False) -> None:
        if len(self._events) >= _MAX_BACKLOG:
            logger.debug("dropped an event: Redis is unavailable or slow")
            return
        self._events.append(event)
        if urgent:
            self._urgent.set()
        self._waiting.set()

    def _run(self) -> None:
        sent_at, pause = float("-inf"), MIN_INTERVAL_SECONDS
        while not self._closed or self._events:
            self._waiting.wait(self._seconds_to_due())
            if self._events:
                self._urgent.wait(DELAY_SECONDS)
            if not self._closed:
                time.sleep(max(sent_at + pause - time.monotonic(), 0))
            self._waiting.clear()
            self._urgent.clear()
            told = sum(not isinstance(each, _TaskEvent) for each in list(self._events))
            pause = CROWD_SECONDS if told >= CROWD else MIN_INTERVAL_SECONDS
            while self._events or self._seconds_to_due() == 0:
                self._send([self._events.popleft() for _ in range(min(len(self._events), _MAX_PER_ROUND_TRIP))])
                sent_at = time.monotonic()

    def _seconds_to_due(self) -> float | None:
        """Return how long the first progress is held yet; None when none is."""
        first = next(iter(list(self._held.values())), None)
        if first is None:
            return None
        return 0.0 if self._closed else max(first.due - time.monotonic(), 0.0)

    def _take_due(self, ended: Collection[str]) -> dict[str, dict[str, Any]]:
        """Forget the progress of jobs that have ended; remove and return the reports that are due."""
        for job_id in ended:
            self._held.pop(job_id, None)
        now = float("inf") if self._closed else time.monotonic()
        due = [job_id for job_id, each in list(self._held.items()) if each.due <= now]
        return {job_id: self._held.pop(job_id).report for job_id in due}

    def _send(self, events: list[_Event]) -> None:
        changes = [each for each in events if isinstance(each, JobChange)]
        previews = {each.key: each.image for each in events if isinstance(each, _Preview)}
        progress = self._take_due([each.job_id for each in changes if each.status in SETTLED])
        commands: list[Command] = [("SET", key, image, "EX", _TTL) for key, image in previews.items()]
        for job_id, report in progress.items():
            key, text = self._keys.progress(job_id), dump_json(report)
            commands += [("SET", key, text, "EX", _TTL), ("PUBLISH", key, text)]
        if changes:
            commands.append(("PUBLISH", self._keys.changes, changes_message(changes)))
        if task_events := [each.fields for each in events if isinstance(each, _TaskEvent)]:
            commands.append(("PUBLISH", self._task_events, events_message(task_events)))
        if not commands:
            return
        try:
            self._sender.run(commands)
        except (RedisError, OSError) as error:
            logger.debug("Redis did not take events: %s", error)
