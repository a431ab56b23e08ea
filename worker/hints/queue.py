"""The hint queue of a model in the broker: publish hints, take them, pass them on, and keep the window full."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress

from redis.exceptions import RedisError

from core.celery_messages import events_channel, events_message, hint_message, sent_event
from core.errors import Unavailable
from core.queue import flower_kwargs, render_queue
from core.settings import Settings
from db import hints
from db.database import Database
from db.redis_client import connect
from worker.hints.hint import Hint, MalformedHint, read_raw_hint, shown

logger = logging.getLogger(__name__)

PASS_ON_PAUSE_SECONDS = 0.03
REFILL_INTERVAL_SECONDS = 0.5
"""Minimum interval between two refills. Only idle workers wait for hints: a busy one claims its next job without."""
MAX_ROUNDS = 5
"""Round trips of one call while messages are malformed, so that a flood of them does not keep threads from claiming."""


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

    def oldest_waiting(self) -> bytes | None:
        """Return the message that is taken next; None when none waits or the broker does not answer."""
        try:
            oldest = self._redis.lindex(self._key, -1)
        except (RedisError, OSError) as error:
            logger.debug("could not look at the hints in the broker: %s", error)
            return None
        return oldest if isinstance(oldest, bytes) else None

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


class HintQueue:
    """Thread-safe. `start` and `stop` run the thread that refills the window after claims; many claims share a refill."""

    def __init__(self, settings: Settings, database: Database, model: str) -> None:
        self._model = model
        self._publisher = HintPublisher(settings, database)
        self._taker = HintTaker(settings, model)
        self._refill_requested = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hint-refill", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Return after the last refill."""
        self._stopping.set()
        self._refill_requested.set()
        self._thread.join(timeout=3)
        self._taker.close()
        self._publisher.close()

    def take(self, count: int) -> list[Hint]:
        """Remove and return the oldest hints, at most `count`; fewer when there are no more, or no broker."""
        return self._taker.take(count)

    def wait(self, seconds: float) -> Hint | None:
        """Remove and return the oldest hint, once there is one; None when none came in time."""
        return self._taker.wait(seconds)

    def oldest_waiting(self) -> bytes | None:
        """Return the message that is taken next; None when none waits."""
        return self._taker.oldest_waiting()

    def pass_on(self, hint: Hint, pause_seconds: float = PASS_ON_PAUSE_SECONDS) -> None:
        """Put a hint back for another worker, after a pause that lets an idle worker take an earlier one first."""
        time.sleep(pause_seconds)
        self._publisher.pass_on(hint, self._model)

    def request_refill(self) -> None:
        """Ask for a refill soon: a claim may have made room for another hint."""
        self._refill_requested.set()

    def _run(self) -> None:
        while True:
            self._refill_requested.wait()
            if self._stopping.wait(REFILL_INTERVAL_SECONDS):
                return
            self._refill_requested.clear()
            try:
                self._publisher.fill_window(self._model)
            except Unavailable as error:
                logger.debug("could not refill the hints, the reaper will: %s", error.message)
            except Exception:
                logger.exception("could not refill the hints; the next claim tries again")
