"""The inbox knows of cancels that the loop has yet to take, and of none after that."""

from __future__ import annotations

import queue
from typing import cast

from worker.engine.io_queues import InputQueue
from worker.engine.messages import Cancel, Channel, Heartbeat, Message


class Wire:
    """What the worker sends."""

    def __init__(self) -> None:
        self.messages: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def receive(self) -> Message:
        return self.messages.get()


def take(inbox: InputQueue, count: int) -> list[Message]:
    """That many, however they arrive."""
    taken: list[Message] = []
    while len(taken) < count:
        taken += cast("list[Message]", inbox.take(wait=True))
    return taken


def test_a_cancel_counts_until_it_is_taken() -> None:
    wire = Wire()
    inbox = InputQueue(cast("Channel", wire))
    wire.messages.put(Cancel("a"))
    wire.messages.put(Heartbeat())
    assert take(inbox, 2) == [Cancel("a"), Heartbeat()]
    assert not inbox.all_canceled(["a"]), "the loop knows of it now; another request may bear the name"
    for each in ("a", "a", "b"):
        wire.messages.put(Cancel(each))
    while not inbox.all_canceled(["a", "b"]):
        pass
    assert not inbox.all_canceled(["a", "b", "c"])
    take(inbox, 3)
    assert not inbox.all_canceled(["a"])
    assert not inbox.all_canceled(["b"])
