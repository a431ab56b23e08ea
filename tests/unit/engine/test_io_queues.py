"""The input queue reports cancels until the loop takes them."""

from __future__ import annotations

import queue
from typing import cast

from worker.engine.io_queues import InputQueue
from worker.engine.messages import Cancel, Channel, Heartbeat, Message


class Wire:
    """Stands in for the channel to the worker."""

    def __init__(self) -> None:
        self.messages: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def receive(self) -> Message:
        return self.messages.get()


def take(input_queue: InputQueue, count: int) -> list[Message]:
    """Take messages until there are `count`."""
    taken: list[Message] = []
    while len(taken) < count:
        taken += cast("list[Message]", input_queue.take(wait=True))
    return taken


def test_a_cancel_is_reported_until_it_is_taken() -> None:
    wire = Wire()
    input_queue = InputQueue(cast("Channel", wire))
    wire.messages.put(Cancel("a"))
    wire.messages.put(Heartbeat())
    assert take(input_queue, 2) == [Cancel("a"), Heartbeat()]
    assert not input_queue.all_canceled(["a"]), "the loop has taken it; another request may have the same id"
    for each in ("a", "a", "b"):
        wire.messages.put(Cancel(each))
    while not input_queue.all_canceled(["a", "b"]):
        pass
    assert not input_queue.all_canceled(["a", "b", "c"])
    take(input_queue, 3)
    assert not input_queue.all_canceled(["a"])
    assert not input_queue.all_canceled(["b"])
