"""Listen for cancel requests on Redis; without Redis the next heartbeat reports them."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress

from redis.client import PubSub
from redis.exceptions import RedisError

from core.queue import RedisKeys
from core.settings import Settings
from db.redis_client import connect
from worker.runner.attempts import CancelRequested, InFlightAttempts

logger = logging.getLogger(__name__)

QUIET_SECONDS = 5.0
"""Longest wait for one message."""


class CancelListener:
    """A thread that subscribes to the `cancels` channel and posts each cancel to the attempt, if it is here."""

    def __init__(self, settings: Settings, attempts: InFlightAttempts) -> None:
        self._channel = RedisKeys(settings.redis_prefix).cancels
        self._redis = connect(settings.redis_url, socket_timeout=10, socket_connect_timeout=2)
        self._attempts = attempts
        self._subscription: PubSub | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cancels", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, within about a second."""
        self._stop.set()
        if self._subscription is not None:
            with suppress(RedisError, OSError):
                self._subscription.unsubscribe()  # type: ignore[no-untyped-call]  # its reply ends the wait for a message.
        self._thread.join(timeout=3)
        self._redis.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._listen()
            except (RedisError, OSError) as error:
                logger.debug("cannot receive cancels for now: %s", error)
                self._stop.wait(1.0)
            except Exception:
                logger.exception("could not read a cancel; the next heartbeat reports it")
                self._stop.wait(1.0)

    def _listen(self) -> None:
        with self._redis.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]
            channel.subscribe(self._channel)
            self._subscription = channel
            while not self._stop.is_set():
                message = channel.get_message(timeout=QUIET_SECONDS)
                if message is not None:
                    self._attempts.post_to_job(message["data"].decode(), CancelRequested())
