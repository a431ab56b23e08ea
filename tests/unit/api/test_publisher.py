"""Overflow of the send queue."""

from __future__ import annotations

import threading

import pytest

from api import publisher


def test_a_message_to_a_full_queue_is_undone_and_the_caller_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "_BACKLOG", 2)
    send_queue = publisher.SendQueue()
    started, slow, undone = threading.Event(), threading.Event(), threading.Event()
    sent: list[str] = []
    threads: list[str] = []

    def take_long() -> None:
        started.set()
        slow.wait(20)

    def undo() -> None:
        threads.append(threading.current_thread().name)
        undone.set()

    send_queue.send(take_long)
    assert started.wait(20)
    send_queue.send(lambda: sent.append("first"))
    send_queue.send(lambda: sent.append("second"))
    send_queue.send(lambda: sent.append("rejected"), undo)
    send_queue.send(lambda: sent.append("rejected"))  # nothing to undo
    assert not undone.is_set()
    slow.set()
    assert undone.wait(20)
    send_queue.close()
    assert sent == ["first", "second"]
    assert threads == ["hint-send"]
