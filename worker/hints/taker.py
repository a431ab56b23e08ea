"""Take the next hint straight from the broker's list, for a thread that has just become free."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace

from redis import Redis
from redis.exceptions import RedisError

from core.queue import render_queue
from core.settings import Settings

logger = logging.getLogger(__name__)

MAX_DEFERRALS = 20


@dataclass(frozen=True)
class Hint:
    """A message that was sent for job `job_id`; `deferrals` counts how often busy workers have passed it on."""

    job_id: str
    deferrals: int = 0

    @property
    def may_be_deferred(self) -> bool:
        return self.deferrals < MAX_DEFERRALS

    def deferred(self) -> Hint:
        """Return this hint with one more deferral."""
        return replace(self, deferrals=self.deferrals + 1)


class HintTaker:
    """Pop hints from kombu's Redis list, which holds JSON messages with the newest on the left.

    Celery without prefetch polls its queue about once a second while its pool is full. Between short jobs that pause
    would be most of the time.
    """

    def __init__(self, settings: Settings, model: str) -> None:
        self._key = f"{settings.redis_prefix}{render_queue(model)}"
        self._redis = Redis.from_url(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)

    def take(self) -> Hint | None:
        """Remove and return the oldest hint; None when there is none or the broker does not answer."""
        try:
            raw = self._redis.rpop(self._key)
        except (RedisError, OSError) as error:
            logger.debug("could not take a hint from the broker: %s", error)
            return None
        if not isinstance(raw, bytes):
            return None
        headers = json.loads(raw)["headers"]
        return Hint(str(headers["id"]), int(headers.get("deferrals") or 0))

    def close(self) -> None:
        """Close the Redis connections."""
        self._redis.close()
