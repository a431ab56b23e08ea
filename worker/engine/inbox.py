"""Receives the worker's commands on a thread of its own; the engine ends with its worker."""

from __future__ import annotations

import os
import queue
import threading

from worker.engine.messages import Channel, Message


class Inbox:
    """A mailbox that the loop empties between steps."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="inbox", daemon=True).start()

    def take(self, wait: bool) -> list[Message]:
        """What has arrived; with `wait`, at least one message."""
        taken: list[Message] = [self._queue.get()] if wait else []
        while not self._queue.empty():
            taken.append(self._queue.get())
        return taken

    def _run(self) -> None:
        while True:
            try:
                self._queue.put(self._channel.receive())
            except (EOFError, OSError):
                # At once, in the middle of a step if need be: the worker that wanted the pictures is gone, and
                # another one may be waiting for this device.
                os._exit(0)
