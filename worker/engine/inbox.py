"""The loop's mailbox: the worker's commands, and what the engine's own threads have done. It ends with its worker."""

from __future__ import annotations

import os
import queue
import threading

from worker.engine.active import Decoded, Encoded
from worker.engine.messages import Channel, Message

Mail = Message | Encoded | Decoded


class Inbox:
    """The loop empties it between steps; any thread may put something in."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._queue: queue.SimpleQueue[Mail] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="inbox", daemon=True).start()

    def put(self, mail: Mail) -> None:
        self._queue.put(mail)

    def take(self, wait: bool) -> list[Mail]:
        """What has arrived; with `wait`, at least one message."""
        taken: list[Mail] = [self._queue.get()] if wait else []
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
