"""Take the next hint straight from the broker's list, for a thread that has just become free."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

from redis import Redis
from redis.exceptions import RedisError

from core.queue import render_queue
from core.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hint:
    """The job it was sent for, and how often busy workers have passed it on."""

    job_id: str
    deferrals: int


class HintTaker:
    """Celery without prefetch looks at its queue about once a second while its pool is full: between short jobs that wait

    is most of the time. Kombu keeps a Redis queue as a list of JSON messages, newest on the left.
    """

    def __init__(self, settings: Settings, model: str) -> None:
        self._key = f"{settings.redis_prefix}{render_queue(model)}"
        self._redis = Redis.from_url(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)

    def take(self) -> Hint | None:
        """The oldest hint, now off the list; None when there is none or the broker is away."""
        try:
            raw = self._redis.rpop(self._key)
        except (RedisError, OSError) as error:
            logger.debug("no hint from the broker: %s", error)
            return None
        if not isinstance(raw, bytes):
            return None
        headers = json.loads(raw)["headers"]
        return Hint(str(headers["id"]), int(headers.get("deferrals") or 0))

    def close(self) -> None:
        """Gives the connections back."""
        self._redis.close()
