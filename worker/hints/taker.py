"""Take the next hints straight from the broker's list, for threads that have just become free."""

from __future__ import annotations

import logging

from redis.exceptions import RedisError

from core.queue import render_queue
from core.settings import Settings
from db.redis_client import connect
from worker.hints.hint import Hint, MalformedHint, read_raw_hint, shown

logger = logging.getLogger(__name__)

MAX_ROUNDS = 5
"""Round trips of one call while messages are malformed, so that a flood of them does not keep threads from claiming."""


class HintTaker:
    """Pop hints from kombu's Redis list, which holds JSON messages with the newest on the left.

    Celery without prefetch polls its queue about once a second while its pool is full. Between short jobs that pause
    would be most of the time.
    """

    def __init__(self, settings: Settings, model: str) -> None:
        self._key = f"{settings.redis_prefix}{render_queue(model)}"
        self._redis = connect(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)

    def take(self, count: int) -> list[Hint]:
        """Remove and return the oldest hints, at most `count`; fewer when the broker has no more or does not answer.

        Messages that are no hints are removed, logged and skipped.
        """
        found: list[Hint] = []
        for _ in range(MAX_ROUNDS):
            popped = self._pop(count - len(found))
            found += [hint for raw in popped if (hint := self._read(raw)) is not None]
            if not popped or len(found) == count:
                break
        return found

    def wait(self, seconds: float) -> Hint | None:
        """Remove and return the oldest hint, once there is one; None when none came in time or the broker does not answer.

        Redis serves those that wait in turn: Celery's consumer and every thread here.
        """
        try:
            popped = self._redis.brpop([self._key], timeout=seconds)
        except (RedisError, OSError) as error:
            logger.debug("could not wait for a hint: %s", error)
            return None
        return self._read(popped[1]) if isinstance(popped, list | tuple) and isinstance(popped[1], bytes) else None

    def _read(self, raw: bytes) -> Hint | None:
        try:
            return read_raw_hint(raw)
        except MalformedHint as error:
            logger.warning("dropped a message on %s that is no hint: %s; it was %s", self._key, error, shown(raw))
            return None

    def _pop(self, count: int) -> list[bytes]:
        try:
            popped = self._redis.rpop(self._key, count)
        except (RedisError, OSError) as error:
            logger.debug("could not take hints from the broker: %s", error)
            return []
        return [raw for raw in popped if isinstance(raw, bytes)] if isinstance(popped, list) else []

    def close(self) -> None:
        """Close the Redis connections."""
        self._redis.close()
