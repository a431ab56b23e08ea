"""The loop's mailbox: the worker's commands, and what the engine's own threads have done. It ends with its worker."""

from __future__ import annotations

import os
import queue
import threading

from worker.engine.active import Decoded, Encoded
from worker.engine.messages import Cancel, Channel, Message

Mail = Message | Encoded | Decoded


class Inbox:
    """The loop empties it between steps; any thread may put something in."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._queue: queue.SimpleQueue[Mail] = queue.SimpleQueue()
        self._to_cancel: set[str] = set()
        threading.Thread(target=self._run, name="inbox", daemon=True).start()

    def put(self, mail: Mail) -> None:
        self._queue.put(mail)

    def take(self, wait: bool) -> list[Mail]:
        """What has arrived; with `wait`, at least one message."""
        taken: list[Mail] = [self._queue.get()] if wait else []
        while not self._queue.empty():
            taken.append(self._queue.get())
        self._to_cancel -= {mail.request_id for mail in taken if isinstance(mail, Cancel)}
        return taken

    def all_canceled(self, request_ids: list[str]) -> bool:
        """Whether the end of each has been asked for by a message that the loop has yet to take."""
        return self._to_cancel.issuperset(request_ids)

    def _run(self) -> None:
        while True:
            try:
                message = self._channel.receive()
            except (EOFError, OSError):
                # At once, in the middle of a step if need be: the worker that wanted the pictures is gone, and
                # another one may be waiting for this device.
                os._exit(0)
            if isinstance(message, Cancel):
                self._to_cancel.add(message.request_id)
            self._queue.put(message)
