"""Ask whether another worker of a model is idle; the workers of a farm share each answer for a moment through Redis."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Sequence

from redis.exceptions import RedisError

from core.queue import RedisKeys
from core.settings import Settings
from db.database import Database
from db.redis_client import connect
from db.worker_speeds import IdleWorker, idle_workers

logger = logging.getLogger(__name__)

CACHE_SECONDS = 0.1
"""How long an answer counts, here and in Redis. Then one worker asks again, and the others take the old one meanwhile."""
KEPT_TIMES = 3
"""For so many times as long an answer stays in Redis, in case the worker that asks does not come back."""
WITHOUT_REDIS_SECONDS = 5.0
"""For so long after a failure of Redis, this worker asks the database alone."""


class IdleWorkers:
    """Thread-safe; threads that ask at the same moment share one query.

    A hundred busy workers ask some hundred times a second for the same short list.
    """

    def __init__(self, settings: Settings, database: Database, model: str, own_name: str) -> None:
        self._database = database
        self._model = model
        self._own_name = own_name
        keys = RedisKeys(settings.redis_prefix)
        self._key, self._turn = keys.idle_workers(model), keys.idle_workers_turn(model)
        self._redis = connect(settings.redis_url, socket_timeout=1, socket_connect_timeout=1)
        self._redis_from = float("-inf")
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._found: Sequence[IdleWorker] = ()

    def any_idle(self, slowest: float | None = None) -> bool:
        """Return whether another worker of this model was idle some CACHE_SECONDS ago. Raises Unavailable.

        Those that take more than `slowest` seconds for a megapixel and a step do not count, those that were not measured do.
        """
        with self._lock:
            if time.monotonic() - self._asked_at > CACHE_SECONDS:
                self._found = self._look()
                self._asked_at = time.monotonic()
        limit = math.inf if slowest is None else slowest
        return any(each.name != self._own_name and (each.seconds or 0.0) <= limit for each in self._found)

    def close(self) -> None:
        """Close the connections to Redis."""
        self._redis.close()

    def _look(self) -> Sequence[IdleWorker]:
        if (shared := self._shared()) is not None:
            return shared
        found = idle_workers(self._database, self._model)
        self._share(found)
        return found

    def _shared(self) -> Sequence[IdleWorker] | None:
        """Return the answer that a worker has left in Redis; None when it is this one's turn to ask, or none can be read."""
        if time.monotonic() < self._redis_from:
            return None
        try:
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.set(self._turn, "1", nx=True, px=int(CACHE_SECONDS * 1000))
            pipeline.get(self._key)
            is_our_turn, answer = pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            self._leave_redis(error)
            return None
        try:
            if is_our_turn or not isinstance(answer, bytes):  # such as the error of a key of another type
                return None
            return [IdleWorker(str(name), None if each is None else float(each)) for name, each in json.loads(answer)]
        except (ValueError, TypeError, OverflowError, RecursionError):  # whatever another client has left there
            return None

    def _share(self, found: Sequence[IdleWorker]) -> None:
        if time.monotonic() < self._redis_from:
            return
        answer = json.dumps([[each.name, each.seconds] for each in found])
        try:
            self._redis.set(self._key, answer, px=int(KEPT_TIMES * CACHE_SECONDS * 1000))
        except (RedisError, OSError) as error:
            self._leave_redis(error)

    def _leave_redis(self, error: Exception) -> None:
        logger.debug("the list of idle workers is not shared: %s", error)
        self._redis_from = time.monotonic() + WITHOUT_REDIS_SECONDS
