"""Learn from Redis that jobs wait for a worker that this machine starts on demand."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from redis import Redis
from redis.exceptions import RedisError

from core.queue import UPSCALE
from db.redis_client import connect

logger = logging.getLogger(__name__)

RECONNECT_SECONDS = 1.0
QUIET_SECONDS = 60.0
"""Longest wait for a message; the connection is checked then."""


def listen(channel: str, redis_url: str, on_wanted: Callable[[], object]) -> threading.Thread:
    """Call `on_wanted` for each message that names core.queue.UPSCALE, from a daemon thread that outlives outages.

    A message may be lost while Redis is away: the reaper repeats it until a worker lives.
    """
    thread = threading.Thread(target=_run, args=(channel, redis_url, on_wanted), name="demand", daemon=True)
    thread.start()
    return thread


def _run(channel: str, redis_url: str, on_wanted: Callable[[], object]) -> None:
    while True:
        try:
            with connect(redis_url, socket_connect_timeout=2, socket_keepalive=True) as connection:
                _receive(connection, channel, on_wanted)
        except (RedisError, OSError) as error:
            logger.debug("cannot learn which workers are wanted: %s", error)
            time.sleep(RECONNECT_SECONDS)


def _receive(connection: Redis, channel: str, on_wanted: Callable[[], object]) -> None:
    with connection.pubsub(ignore_subscribe_messages=True) as messages:  # type: ignore[no-untyped-call]
        messages.subscribe(channel)
        while True:
            message = messages.get_message(timeout=QUIET_SECONDS)
            if message is None:
                messages.ping()
            elif message["type"] == "message" and message["data"] == UPSCALE.encode():
                on_wanted()
