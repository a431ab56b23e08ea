"""Messages that find no room in the outbox are undone, and nobody waits for that."""

from __future__ import annotations

import threading

import pytest

from api import publisher


def test_what_finds_no_room_is_undone_and_the_caller_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "_BACKLOG", 2)
    box = publisher.SendQueue()
    started, slow, undone = threading.Event(), threading.Event(), threading.Event()
    sent: list[str] = []
    threads: list[str] = []

    def take_long() -> None:
        started.set()
        slow.wait(20)

    def undo() -> None:
        threads.append(threading.current_thread().name)
        undone.set()

    box.send(take_long)
    assert started.wait(20)
    box.send(lambda: sent.append("first"))
    box.send(lambda: sent.append("second"))
    box.send(lambda: sent.append("no room"), undo)
    box.send(lambda: sent.append("no room"))  # nothing to undo
    assert not undone.is_set()
    slow.set()
    assert undone.wait(20)
    box.close()
    assert sent == ["first", "second"]
    assert threads == ["hint-send"]
