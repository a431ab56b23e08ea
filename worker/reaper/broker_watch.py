"""What the broker still knows: whether it lost its data, and whether a model's queue of hints is empty."""

from __future__ import annotations

from redis import Redis

from core.ids import new_id
from core.queue import RedisKeys, render_queue
from core.settings import Settings


class BrokerWatch:
    """Raises RedisError when the broker is away."""

    def __init__(self, settings: Settings) -> None:
        self._keys = RedisKeys(settings.redis_prefix)
        self._prefix = settings.redis_prefix
        self._redis = Redis.from_url(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)
        self._epoch: str | None = None

    def lost_its_data(self) -> bool:
        """Whether the broker was emptied since this reaper last looked, or before it first did."""
        known = self._redis.get(self._keys.epoch)
        if known is None:
            self._redis.set(self._keys.epoch, new_id(), nx=True)
            known = self._redis.get(self._keys.epoch)
        epoch = known.decode() if isinstance(known, bytes) else None
        lost = epoch != self._epoch and epoch is not None
        self._epoch = epoch
        return lost

    def queue_is_empty(self, model: str) -> bool:
        """Whether no hint for this model waits to be taken."""
        return self._redis.llen(f"{self._prefix}{render_queue(model)}") == 0

    def close(self) -> None:
        """Gives the connection back."""
        self._redis.close()
