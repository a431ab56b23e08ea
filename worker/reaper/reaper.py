"""Reconcile in rounds: expire late jobs, requeue expired leases, republish lost hints."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from redis.exceptions import RedisError

from core.errors import Unavailable
from core.ids import new_id
from core.queue import UPSCALE, RedisKeys, render_queue
from core.settings import Settings
from db import hints
from db.database import Database
from db.jobs.reap import expire_late, hold_unrunnable, open_work, requeue_expired_leases
from db.redis_client import connect
from db.workers import live_workers
from worker.events import EventPublisher
from worker.hints.queue import HintPublisher


class BrokerMonitor:
    """Watch the broker for lost data. Methods raise RedisError when it is unavailable."""

    def __init__(self, settings: Settings) -> None:
        self._keys = RedisKeys(settings.redis_prefix)
        self._prefix = settings.redis_prefix
        self._redis = connect(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)
        self._epoch: str | None = None

    def has_lost_data(self) -> bool:
        """Return whether the broker lost its data since the last call; true on the first call."""
        known = self._redis.get(self._keys.epoch)
        if known is None:
            self._redis.set(self._keys.epoch, new_id(), nx=True)
            known = self._redis.get(self._keys.epoch)
        epoch = known.decode() if isinstance(known, bytes) else None
        lost = epoch != self._epoch and epoch is not None
        self._epoch = epoch
        return lost

    def queue_is_empty(self, model: str) -> bool:
        """Return whether no hint for this model is queued."""
        return self._redis.llen(f"{self._prefix}{render_queue(model)}") == 0

    def want_worker(self, model: str) -> None:
        """Tell supervisors that jobs wait for a worker of this model."""
        self._redis.publish(self._keys.wanted, model)

    def close(self) -> None:
        """Close the Redis connection."""
        self._redis.close()


logger = logging.getLogger(__name__)

STALE_HINT_SECONDS = 3.0
CONNECT_SECONDS = 5.0
IDLE_SECONDS = 2.0
"""Between two rounds while no job is queued or running."""
BROKER_SECONDS = 10.0
"""Between two looks at the broker while no job is queued, whose hint it could have lost."""


class Reaper:
    """Holds no state that must survive: any number of reapers may run, and any may be killed at any time."""

    def __init__(self, settings: Settings, on_operations: Callable[[], object] = lambda: None) -> None:
        """`on_operations`: called in each round in which an operation on a model waits."""
        self._on_operations = on_operations
        self._database = Database(settings.resolved_database_url, pool_size=2, few_plans=True)
        self._publisher = HintPublisher(settings, self._database)
        self._events = EventPublisher(settings)
        self._broker = BrokerMonitor(settings)
        self._grace_seconds = 2 * settings.heartbeat_seconds + CONNECT_SECONDS
        self._trust_leases_at = 0.0
        self._seconds = settings.reaper_seconds
        self._is_idle = False
        self._broker_away = False
        self._broker_seen_at = float("-inf")

    @property
    def pause_seconds(self) -> float:
        """Seconds until the next round; longer while no job is open, whose submit sends its own hint."""
        return max(self._seconds, IDLE_SECONDS) if self._is_idle else self._seconds

    def round(self) -> None:
        """Reconcile once. An outage of the database or the broker is logged, not raised; the next round tries again."""
        try:
            work = open_work(self._database)
            if work.operations:
                self._on_operations()
            if work.due:
                self._end_overdue_jobs()
            self._republish_hints(any_queued=work.queued or work.due)
            self._is_idle = not (work.queued or work.running or work.due or self._broker_away)
        except Unavailable as error:
            # Leases expire while no worker can renew them: give the workers time to do so once the database is back.
            if self._trust_leases_at <= time.monotonic():
                logger.warning("waiting for the database: %s", error.message)
            self._trust_leases_at = time.monotonic() + self._grace_seconds
            self._is_idle = False

    def _end_overdue_jobs(self) -> None:
        ended = expire_late(self._database) + hold_unrunnable(self._database)
        if time.monotonic() >= self._trust_leases_at:
            ended += requeue_expired_leases(self._database)
        for job in ended:
            logger.warning("job %s is now %s: %s", job.id, job.status, job.error_message, extra={"job_id": job.id})
            self._events.job_changed(job)

    def _republish_hints(self, *, any_queued: bool) -> None:
        if not (any_queued or self._broker_away or time.monotonic() - self._broker_seen_at >= BROKER_SECONDS):
            return
        try:
            if self._broker.has_lost_data():
                logger.info("every waiting job gets a new hint: this reaper is new, or the broker lost its data")
                hints.clear_all_hints(self._database)
            for model in hints.models_waiting(self._database) if any_queued else ():
                self._republish_hints_of(model)
                if model == UPSCALE and not live_workers(self._database, UPSCALE):
                    self._broker.want_worker(UPSCALE)
            self._broker_away, self._broker_seen_at = False, time.monotonic()
        except (RedisError, OSError) as error:
            if not self._broker_away:
                logger.warning("the broker does not answer (%s); hints wait until it is back", error)
            self._broker_away = True

    def _republish_hints_of(self, model: str) -> None:
        if self._broker.queue_is_empty(model):
            lost = hints.clear_stale_hints(self._database, model, STALE_HINT_SECONDS)
            if lost:
                logger.info("%d hints for %s were lost and are published again", lost, model)
        self._publisher.fill_window(model)

    def close(self) -> None:
        """Close the connections to Redis and the database."""
        self._events.close()
        self._publisher.close()
        self._broker.close()
        self._database.dispose()
