"""Overflow of the send queue, and messages that share a round trip."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest

from api import publisher


def test_a_message_to_a_full_queue_is_undone_and_the_caller_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "_BACKLOG", 2)
    started, slow, undone = threading.Event(), threading.Event(), threading.Event()
    sent: list[list[str]] = []
    threads: list[tuple[str, list[str]]] = []

    def send_all(messages: Sequence[str]) -> Callable[[], None]:
        started.set()
        slow.wait(120)
        return lambda: sent.append(list(messages))

    def undo(messages: Sequence[str]) -> None:
        threads.append((threading.current_thread().name, list(messages)))
        undone.set()

    send_queue = publisher.SendQueue[str](send_all, undo)
    send_queue.send("takes long")
    assert started.wait(120)
    for message in ("first", "second", "rejected"):
        send_queue.send(message)
    assert not undone.is_set()
    slow.set()
    assert undone.wait(120)
    send_queue.close()
    assert sent == [["takes long"], ["first", "second"]]
    assert threads == [("hint-send", ["rejected"])]


def test_messages_that_are_not_sent_are_undone_and_the_next_ones_too_until_the_cool_down_ends() -> None:
    undone: list[str] = []

    def fail(_: Sequence[str]) -> Callable[[], None]:
        raise OSError("no route to host")

    send_queue = publisher.SendQueue[str](fail, undone.extend)
    send_queue.send("first")
    send_queue.send("second")
    send_queue.close()
    assert undone == ["first", "second"]
    assert send_queue.broken


@pytest.mark.parametrize("failing", ["nothing", "send", "answer"])
def test_a_message_sent_here_leaves_before_and_is_waited_for_after_what_runs_meanwhile(failing: str) -> None:
    seen: list[str] = []

    def step(name: str) -> None:
        seen.append(name)
        if name == failing:
            raise OSError("no route to host")

    def begin(messages: Sequence[str]) -> Callable[[], None]:
        step("send")
        return lambda: step("answer")

    send_queue = publisher.SendQueue[str](begin, lambda messages: seen.append(f"undo {messages}"))
    send_queue.send_here("a", lambda: seen.append("meanwhile"))
    send_queue.close()
    expected = {
        "nothing": ["send", "meanwhile", "answer"],
        "send": ["send", "meanwhile", "undo ['a']"],
        "answer": ["send", "meanwhile", "answer", "undo ['a']"],
    }
    assert seen == expected[failing]


@pytest.mark.parametrize("sent", [True, False])
def test_an_error_meanwhile_loses_no_message(sent: bool) -> None:
    """Such as that of an event loop that has closed."""
    seen: list[str] = []

    def begin(_: Sequence[str]) -> Callable[[], None]:
        if not sent:
            raise OSError("no route to host")
        return lambda: seen.append("answer")

    def fail() -> None:
        raise RuntimeError("Event loop is closed")

    send_queue = publisher.SendQueue[str](begin, lambda messages: seen.append(f"undo {messages}"))
    with pytest.raises(RuntimeError, match="closed"):
        send_queue.send_here("a", fail)
    send_queue.close()
    assert seen == (["answer"] if sent else ["undo ['a']"])
