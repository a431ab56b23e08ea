"""Publish hints to the broker and keep each model's window of hints full."""

from __future__ import annotations

import logging
from contextlib import suppress

from redis.exceptions import RedisError

from core.celery_messages import events_channel, events_message, hint_message, sent_event
from core.queue import flower_kwargs, render_queue
from core.settings import Settings
from db import hints
from db.database import Database
from db.redis_client import connect
from worker.hints.hint import Hint

logger = logging.getLogger(__name__)


class HintPublisher:
    """Send hints to the broker; a hint that the broker does not take is published again later."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._prefix = settings.redis_prefix
        self._redis = connect(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)
        self._events = events_channel(settings.redis_prefix, self._redis.get_connection_kwargs().get("db") or 0)

    def fill_window(self, model: str) -> int:
        """Publish hints for waiting jobs until the window is full, in one round trip; return how many were sent."""
        if not hints.any_without_hint(self._database, model):
            return 0
        jobs = hints.take_window(self._database, model, hints.window_of(self._database, model))
        if not jobs:
            return 0
        shown = {job.id: flower_kwargs(model, job.input) for job in jobs}
        try:
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.lpush(self._key(model), *(hint_message(job_id, model, fields) for job_id, fields in shown.items()))
            events = [sent_event(job_id, model, fields) for job_id, fields in shown.items()]
            pipeline.publish(self._events, events_message(events))
            pipeline.execute()
        except (RedisError, OSError) as error:
            logger.warning("the broker did not take hints: %s", error)
            self._remove_what_is_no_queue(error, model)
            hints.clear_hints(self._database, list(shown))
            return 0
        return len(jobs)

    def pass_on(self, hint: Hint, model: str) -> None:
        """Put a hint back on the queue for another worker, without an event for Flower, which has seen it already.

        If the broker does not take it, the job is marked as needing a new one.
        """
        try:
            self._redis.lpush(self._key(model), hint_message(hint.job_id, model, {}, hint.deferrals))
        except (RedisError, OSError) as error:
            logger.warning("the broker did not take back a hint: %s", error)
            self._remove_what_is_no_queue(error, model)
            hints.clear_hint(self._database, hint.job_id)

    def _remove_what_is_no_queue(self, error: Exception, model: str) -> None:
        """Remove a key that another client has put in the place of the queue, which would keep out hints for good."""
        if "WRONGTYPE" in str(error):
            with suppress(RedisError, OSError):
                self._redis.unlink(self._key(model))
                logger.warning("the key %s in the broker was no queue and is removed", self._key(model))

    def close(self) -> None:
        """Close the connections to the broker."""
        self._redis.close()

    def _key(self, model: str) -> str:
        return f"{self._prefix}{render_queue(model)}"
