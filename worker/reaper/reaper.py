"""One round of the reaper."""

from __future__ import annotations

import logging
import time

from redis.exceptions import RedisError

from core.errors import Unavailable
from core.settings import Settings
from db import hints
from db.database import Database
from db.jobs.reap import expire_late, hold_unrunnable, requeue_dead_leases
from worker.changes import ChangeBroadcaster
from worker.hints import HintPublisher
from worker.reaper.broker_watch import BrokerWatch

logger = logging.getLogger(__name__)

STALE_HINT_SECONDS = 3.0
CONNECT_SECONDS = 5.0


class Reaper:
    """Holds no state that matters: any number may run, and any of them may die at any time."""

    def __init__(self, settings: Settings) -> None:
        self._database = Database(settings.resolved_database_url, pool_size=2)
        self._publisher = HintPublisher(settings, self._database)
        self._news = ChangeBroadcaster(settings)
        self._broker = BrokerWatch(settings)
        self._grace_seconds = 2 * settings.heartbeat_seconds + CONNECT_SECONDS
        self._trust_leases_at = 0.0
        self._broker_away = False

    def round(self) -> None:
        """Everything once. An outage of the database or the broker is waited out, not raised."""
        try:
            self._end_what_is_over()
            self._mend_hints()
        except Unavailable as error:
            # Leases ran out while nobody could renew them: give the living time to do so before judging them dead.
            if self._trust_leases_at <= time.monotonic():
                logger.warning("waiting for the database: %s", error.message)
            self._trust_leases_at = time.monotonic() + self._grace_seconds

    def _end_what_is_over(self) -> None:
        ended = expire_late(self._database) + hold_unrunnable(self._database)
        if time.monotonic() >= self._trust_leases_at:
            ended += requeue_dead_leases(self._database)
        for job in ended:
            logger.warning("job %s is now %s: %s", job.id, job.status, job.error_message)
            self._news.job_changed(job)

    def _mend_hints(self) -> None:
        try:
            if self._broker.lost_its_data():
                logger.info("the broker is new or lost its data: every waiting job gets a new hint")
                hints.forget_all_hints(self._database)
            for model in hints.models_waiting(self._database):
                self._mend_hints_of(model)
            self._broker_away = False
        except (RedisError, OSError) as error:
            if not self._broker_away:
                logger.warning("the broker does not answer (%s); hints wait until it is back", error)
            self._broker_away = True

    def _mend_hints_of(self, model: str) -> None:
        if self._broker.queue_is_empty(model):
            forgotten = hints.forget_stale_hints(self._database, model, STALE_HINT_SECONDS)
            if forgotten:
                logger.info("%d hints for %s were lost and go out again", forgotten, model)
        self._publisher.fill_window(model)

    def close(self) -> None:
        """Gives everything back."""
        self._news.close()
        self._broker.close()
        self._database.dispose()
