"""The engine loop's input and output queues: one thread receives messages, one builds and sends them."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from worker.engine import spec
from worker.engine.active_request import Decoded, Encoded
from worker.engine.messages import Cancel, Channel, Heartbeat, Message

log = logging.getLogger(__name__)
InputItem = Message | Encoded | Decoded
MakeMessage = Callable[[], Message | None]


class InputQueue:
    """Messages for the loop, which empties the queue between steps; any thread may put one."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._queue: queue.SimpleQueue[InputItem] = queue.SimpleQueue()
        self._to_cancel: set[str] = set()
        self._first: list[InputItem] = []
        threading.Thread(target=self._run, name="input-queue", daemon=True).start()

    def put(self, item: InputItem) -> None:
        self._queue.put(item)

    def peek(self) -> InputItem:
        """Block until there is an item and return it; it stays there. Only before the first call of `take`."""
        self._first = [self._queue.get()]
        return self._first[0]

    def take(self, wait: bool) -> list[InputItem]:
        """Return everything that has arrived; with `wait`, block until there is at least one item."""
        taken, self._first = self._first, []
        if wait and not taken:
            taken.append(self._queue.get())
        while not self._queue.empty():
            taken.append(self._queue.get())
        self._to_cancel -= {item.request_id for item in taken if isinstance(item, Cancel)}
        return taken

    def all_canceled(self, request_ids: list[str]) -> bool:
        """Return whether this queue holds a Cancel for each request that the loop has yet to take."""
        return self._to_cancel.issuperset(request_ids)

    def _run(self) -> None:
        while True:
            try:
                message = self._channel.receive()
            except (EOFError, OSError):
                # Exit at once, even during a step: the worker has ended, and its successor may need this device.
                os._exit(0)
            if isinstance(message, Cancel):
                self._to_cancel.add(message.request_id)
            self._queue.put(message)


class OutputQueue:
    """Messages for the worker, sent in the order in which they were put."""

    def __init__(self, channel: Channel) -> None:
        self.last_event_at = time.monotonic()
        """When the last message other than a heartbeat was put, in seconds of the monotonic clock."""
        self._channel = channel
        self._queue: queue.SimpleQueue[MakeMessage | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="output-queue", daemon=True)
        self._thread.start()

    def put(self, message: Message) -> None:
        if not isinstance(message, Heartbeat):
            self.last_event_at = time.monotonic()
        self._queue.put(lambda: message)

    def put_lazy(self, make: MakeMessage, on_error: Callable[[str, str], Message] | None = None) -> None:
        """Send what `make` returns; it runs on this queue's thread.

        If it raises, `on_error(code, message)` is sent, or nothing without `on_error`.
        """

        def guarded() -> Message | None:
            try:
                return make()
            except Exception as error:
                from worker.device.faults import code_and_message, is_broken_device  # Imports torch.

                log.exception("could not build a message")
                if is_broken_device(error):
                    os._exit(spec.EXIT_BROKEN_DEVICE)
                return on_error(*code_and_message(error)) if on_error else None

        self._queue.put(guarded)

    def close(self) -> None:
        """Block until everything has been sent."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (make := self._queue.get()) is not None:
            message = make()
            if message is not None:
                try:
                    self._channel.send(message)
                except OSError:
                    os._exit(0)  # The worker has ended: no process is left to receive the images.


@dataclass(frozen=True)
class EngineQueues:
    """Both directions of an engine's channel."""

    input: InputQueue
    output: OutputQueue

    @classmethod
    def over(cls, channel: Channel) -> EngineQueues:
        """Start the threads that receive from and send to `channel`."""
        return cls(InputQueue(channel), OutputQueue(channel))
