"""Take the next hint straight from the broker's list, for a thread that has just become free."""

from __future__ import annotations

import logging

from redis import Redis
from redis.exceptions import RedisError

from core.queue import render_queue
from core.settings import Settings
from worker.hints.hint import Hint, MalformedHint, read_raw_hint, shown

logger = logging.getLogger(__name__)

MAX_DROPPED = 100
"""Malformed messages dropped in one call, so that a flood of them does not keep a thread from claiming."""


class HintTaker:
    """Pop hints from kombu's Redis list, which holds JSON messages with the newest on the left.

    Celery without prefetch polls its queue about once a second while its pool is full. Between short jobs that pause
    would be most of the time.
    """

    def __init__(self, settings: Settings, model: str) -> None:
        self._key = f"{settings.redis_prefix}{render_queue(model)}"
        self._redis = Redis.from_url(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)

    def take(self) -> Hint | None:
        """Remove and return the oldest hint; None when there is none or the broker does not answer.

        Messages that are no hints are removed, logged and skipped.
        """
        for _ in range(MAX_DROPPED):
            raw = self._pop()
            if raw is None:
                return None
            try:
                return read_raw_hint(raw)
            except MalformedHint as error:
                logger.warning("dropped a message on %s that is no hint: %s; it was %s", self._key, error, shown(raw))
        return None

    def _pop(self) -> bytes | None:
        try:
            raw = self._redis.rpop(self._key)
        except (RedisError, OSError) as error:
            logger.debug("could not take a hint from the broker: %s", error)
            return None
        return raw if isinstance(raw, bytes) else None

    def close(self) -> None:
        """Close the Redis connections."""
        self._redis.close()
