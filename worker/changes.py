"""Telling the farm over Redis what happened: changes of jobs, progress, previews. Best effort, never in a render's way."""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from core.queue import PROGRESS_TTL_SECONDS, RedisKeys, change_message
from core.settings import Settings
from db.tables import Job

logger = logging.getLogger(__name__)

_BACKLOG = 1000


class ChangeBroadcaster:
    """A thread of its own talks to Redis; when Redis is slow or away, news are dropped, not waited for."""

    def __init__(self, settings: Settings) -> None:
        self._keys = RedisKeys(settings.redis_prefix)
        self._redis = Redis.from_url(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)
        self._news: queue.Queue[Callable[[], object] | None] = queue.Queue(_BACKLOG)
        self._thread = threading.Thread(target=self._run, name="changes", daemon=True)
        self._thread.start()

    def job_changed(self, job: Job) -> None:
        """Call after the commit that changed the job."""
        message = change_message(job.id, job.revision, job.status)
        self._tell(lambda: self._redis.publish(self._keys.changes, message))

    def progress(self, job_id: str, progress: dict[str, Any]) -> None:
        """Latest progress of a running job, kept for a while and sent to whoever listens."""
        key, text = self._keys.progress(job_id), json.dumps(progress)

        def tell() -> None:
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.set(key, text, ex=PROGRESS_TTL_SECONDS)
            pipeline.publish(key, text)
            pipeline.execute()

        self._tell(tell)

    def preview(self, job_id: str, index: int, image: bytes) -> None:
        """Latest preview of one image of a running job."""
        key = self._keys.preview(job_id, index)
        self._tell(lambda: self._redis.set(key, image, ex=PROGRESS_TTL_SECONDS))

    def close(self) -> None:
        """Sends what is waiting, for a second at most."""
        self._tell(None)
        self._thread.join(timeout=1)
        self._redis.close()

    def _tell(self, news: Callable[[], object] | None) -> None:
        try:
            self._news.put_nowait(news)
        except queue.Full:
            logger.debug("dropped news for Redis: it is away or slow")

    def _run(self) -> None:
        while (news := self._news.get()) is not None:
            try:
                news()
            except (RedisError, OSError) as error:
                logger.debug("Redis did not take news: %s", error)
