"""A thread of its own that talks to Redis, so that no request ever waits for it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

_BACKLOG = 10_000
COOL_DOWN_SECONDS = 1.5
"""After a failure nothing is tried for this long: a black hole would otherwise cost a time-out per message."""
_CLOSE_SECONDS = 5.0


def _nothing() -> None:
    """There is nothing to undo."""


class Outbox:
    """Runs sendings in order; one that fails, finds no room, or comes while Redis is away ends in its `undo`."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[Callable[[], object], Callable[[], object]] | None] = queue.Queue(_BACKLOG)
        self._turned_away: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._closed_until = 0.0
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    @property
    def broken(self) -> bool:
        """Whether sending failed a moment ago and is not tried now."""
        return time.monotonic() < self._closed_until

    def send(self, send: Callable[[], object], undo: Callable[[], object] = _nothing) -> None:
        """Queues a sending and returns at once; `undo` runs on the outbox's own thread."""
        try:
            self._waiting.put_nowait((send, undo))
        except queue.Full:
            logger.warning("the outbox is full: Redis is slow or away")
            if undo is not _nothing:
                self._turned_away.put(undo)  # the thread has messages before it, so it will come by

    def close(self) -> None:
        """Sends what waits, for a few seconds at most."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=_CLOSE_SECONDS)
            self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            send, undo = item
            if self.broken or not self._tried(send):
                self._undo(undo)
            self._undo_turned_away()

    def _undo_turned_away(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._undo(self._turned_away.get_nowait())

    def _tried(self, send: Callable[[], object]) -> bool:
        try:
            send()
        except (OperationalError, RedisError, OSError) as error:
            logger.warning("Redis did not take a message (%s); the reaper sends hints again", error)
            self._closed_until = time.monotonic() + COOL_DOWN_SECONDS
            return False
        except Exception:
            logger.exception("a message could not be sent")
            return False
        return True

    def _undo(self, undo: Callable[[], object]) -> None:
        try:
            undo()
        except Exception:
            logger.exception("an unsent hint could not be noted")
