"""Publish job events to Redis: state changes, progress and previews. Best effort; never blocks a render."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from core.lifecycle import SETTLED
from core.queue import PROGRESS_TTL_SECONDS, RedisKeys, changes_message
from core.settings import Settings
from db.redis_client import connect
from db.tables import Job

logger = logging.getLogger(__name__)

_MAX_BACKLOG, _MAX_PER_ROUND_TRIP = 1000, 200
DELAY_SECONDS = 0.02
"""How long a start or a progress may wait for others that share its round trip. The end of a job is not held for that."""
MIN_INTERVAL_SECONDS = 0.005
"""Between two round trips: what ends meanwhile shares the next one."""
CROWD = 4
"""After a round trip with so many messages, the next one waits for DELAY_SECONDS."""


@dataclass(frozen=True)
class _Change:
    job_id: str
    revision: int
    status: str


@dataclass(frozen=True)
class _Progress:
    job_id: str
    report: dict[str, Any]


@dataclass(frozen=True)
class _Preview:
    key: str
    image: bytes


_Event = _Change | _Progress | _Preview


class EventPublisher:
    """Publish from a thread of its own; while Redis is slow or away, events are dropped without delaying renders.

    Events that follow each other share a round trip: all changes one message, and of a job's progress only the latest.
    """

    def __init__(self, settings: Settings) -> None:
        self._keys = RedisKeys(settings.redis_prefix)
        self._redis = connect(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)
        self._pipeline = self._redis.pipeline(transaction=False)  # one for all: making one costs more than running it
        self._events: deque[_Event] = deque()
        self._waiting, self._urgent, self._closed = threading.Event(), threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def job_changed(self, job: Job) -> None:
        """Publish a job's new state. Call after the commit that changed it."""
        self._enqueue(_Change(job.id, job.revision, job.status), urgent=job.status in SETTLED)

    def progress(self, job_id: str, progress: dict[str, Any]) -> None:
        """Store the latest progress of a running job for PROGRESS_TTL_SECONDS and publish it to subscribers."""
        self._enqueue(_Progress(job_id, progress))

    def preview(self, job_id: str, index: int, image: bytes) -> None:
        """Store the latest preview of one image of a running job for PROGRESS_TTL_SECONDS."""
        self._enqueue(_Preview(self._keys.preview(job_id, index), image))

    def close(self) -> None:
        """Send the remaining events, for at most one second."""
        self._closed = True
        self._urgent.set()
        self._waiting.set()
        self._thread.join(timeout=1)
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
            self._waiting.wait()
            self._urgent.wait(DELAY_SECONDS)
            if not self._closed:
                time.sleep(max(sent_at + pause - time.monotonic(), 0))
            self._waiting.clear()
            self._urgent.clear()
            pause = DELAY_SECONDS if len(self._events) >= CROWD else MIN_INTERVAL_SECONDS
            while self._events:
                events = [self._events.popleft() for _ in range(min(len(self._events), _MAX_PER_ROUND_TRIP))]
                try:
                    self._send(events)
                except (RedisError, OSError) as error:
                    logger.debug("Redis did not take events: %s", error)
            sent_at = time.monotonic()

    def _send(self, events: list[_Event]) -> None:
        changes = [(each.job_id, each.revision, each.status) for each in events if isinstance(each, _Change)]
        ended = {job_id for job_id, _, status in changes if status in SETTLED}
        progress = {each.job_id: each.report for each in events if isinstance(each, _Progress) and each.job_id not in ended}
        previews = {each.key: each.image for each in events if isinstance(each, _Preview)}
        pipeline = self._pipeline
        for key, image in previews.items():
            pipeline.set(key, image, ex=PROGRESS_TTL_SECONDS)
        for job_id, report in progress.items():
            key, text = self._keys.progress(job_id), json.dumps(report)
            pipeline.set(key, text, ex=PROGRESS_TTL_SECONDS)
            pipeline.publish(key, text)
        if changes:
            pipeline.publish(self._keys.changes, changes_message(changes))
        pipeline.execute()
