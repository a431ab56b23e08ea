"""Sends the engine's messages from a thread of its own, so that no step waits for a file, a copy or a slow reader."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable

from worker.engine import exits
from worker.engine.messages import Beat, Channel, Message

log = logging.getLogger(__name__)
Make = Callable[[], Message | None]


class Outbox:
    """Messages leave in the order in which they were put."""

    def __init__(self, channel: Channel) -> None:
        self.news_at = time.monotonic()
        """When the last message that says what was done was put: any but a beat."""
        self._channel = channel
        self._queue: queue.SimpleQueue[Make | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def put(self, message: Message) -> None:
        if not isinstance(message, Beat):
            self.news_at = time.monotonic()
        self._queue.put(lambda: message)

    def put_made(self, make: Make, otherwise: Callable[[str, str], Message] | None = None) -> None:
        """`make` runs on the outbox's thread; if it raises, `otherwise(code, message)` is sent, or nothing."""

        def guarded() -> Message | None:
            try:
                return make()
            except Exception as error:
                from worker.engine.faults import code_and_message, is_broken_device  # Imports torch.

                log.exception("could not make a message")
                if is_broken_device(error):
                    os._exit(exits.BROKEN_DEVICE)
                return otherwise(*code_and_message(error)) if otherwise else None

        self._queue.put(guarded)

    def close(self) -> None:
        """Returns when everything has been sent."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (make := self._queue.get()) is not None:
            message = make()
            if message is not None:
                try:
                    self._channel.send(message)
                except OSError:
                    os._exit(0)  # The parent is gone, and nobody else wants pictures.
