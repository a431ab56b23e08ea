"""Publish job events to Redis: state changes, progress and previews. Best effort; never blocks a render."""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from core.queue import PROGRESS_TTL_SECONDS, RedisKeys, change_message
from core.settings import Settings
from db.tables import Job

logger = logging.getLogger(__name__)

_MAX_BACKLOG, _MAX_PER_ROUND_TRIP = 1000, 100


RedisCommand = Callable[[Pipeline], object]


class EventPublisher:
    """Publish from a thread of its own; while Redis is slow or away, events are dropped without delaying renders."""

    def __init__(self, settings: Settings) -> None:
        self._keys = RedisKeys(settings.redis_prefix)
        self._redis = Redis.from_url(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)
        self._commands: queue.Queue[RedisCommand | None] = queue.Queue(_MAX_BACKLOG)
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def job_changed(self, job: Job) -> None:
        """Publish a job's new state. Call after the commit that changed it."""
        message = change_message(job.id, job.revision, job.status)
        self._enqueue(lambda pipeline: pipeline.publish(self._keys.changes, message))

    def progress(self, job_id: str, progress: dict[str, Any]) -> None:
        """Store the latest progress of a running job for PROGRESS_TTL_SECONDS and publish it to subscribers."""
        key, text = self._keys.progress(job_id), json.dumps(progress)

        def store_and_publish(pipeline: Pipeline) -> None:
            pipeline.set(key, text, ex=PROGRESS_TTL_SECONDS)
            pipeline.publish(key, text)

        self._enqueue(store_and_publish)

    def preview(self, job_id: str, index: int, image: bytes) -> None:
        """Store the latest preview of one image of a running job for PROGRESS_TTL_SECONDS."""
        key = self._keys.preview(job_id, index)
        self._enqueue(lambda pipeline: pipeline.set(key, image, ex=PROGRESS_TTL_SECONDS))

    def close(self) -> None:
        """Send the remaining events, for at most one second."""
        self._enqueue(None)
        self._thread.join(timeout=1)
        self._redis.close()

    def _enqueue(self, command: RedisCommand | None) -> None:
        try:
            self._commands.put_nowait(command)
        except queue.Full:
            logger.debug("dropped an event: Redis is unavailable or slow")

    def _run(self) -> None:
        more = True
        while more:
            pipeline = self._redis.pipeline(transaction=False)
            more = self._collect(pipeline)
            try:
                pipeline.execute()
            except (RedisError, OSError) as error:
                logger.debug("Redis did not take events: %s", error)

    def _collect(self, pipeline: Pipeline) -> bool:
        """Wait for a command and add all queued ones to `pipeline`; return False once the publisher is closed."""
        command = self._commands.get()
        while command is not None:
            command(pipeline)
            if self._commands.empty() or len(pipeline) >= _MAX_PER_ROUND_TRIP:
                return True
            command = self._commands.get()
        return False
