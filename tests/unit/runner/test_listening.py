"""When a busy worker's consumer waits for hints."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from celery.worker.consumer import Consumer
from kombu.asynchronous.hub import Hub

from core.errors import Unavailable
from worker.hints.consumer import HintConsumer
from worker.hints.listening import BUSY_WAIT_SECONDS, Listening


class Farm:
    """What the worker sees: whether it is busy, and what it is answered next, which a test can wait for."""

    def __init__(self) -> None:
        self.is_busy, self.another_is_idle = True, True
        self.oldest_hint: bytes | None = None
        self.error: Exception | None = None
        self.may_answer, self.answers, self.answered = threading.Event(), 0, threading.Condition()
        self.may_answer.set()

    def look(self) -> bool:
        self.may_answer.wait()
        with self.answered:
            self.answers += 1
            self.answered.notify_all()
        if self.error is not None:
            raise self.error
        return self.another_is_idle


@pytest.fixture
def farm() -> Farm:
    return Farm()


@pytest.fixture
def listening(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listening]:
    monkeypatch.setattr("worker.hints.listening.RENEW_SECONDS", 0.01)
    monkeypatch.setattr("worker.hints.listening.LOOK_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr("worker.hints.listening.OPEN_SECONDS", 0.0)
    found = Listening(lambda: farm.is_busy, farm.look, lambda: farm.oldest_hint)
    found.start()
    yield found
    farm.may_answer.set()
    found.stop()


def ask_until(listening: Listening, farm: Farm, wanted: bool) -> None:
    """Ask until the answer that was just renewed counts."""
    for _ in range(600):
        before = farm.answers
        if (listening.seconds() != 0) is wanted:
            return
        with farm.answered:
            farm.answered.wait_for(lambda before=before: farm.answers > before, timeout=0.05)  # type: ignore[misc]
    raise AssertionError(f"the consumer never {'waits' if wanted else 'stops waiting'} for hints")


def test_a_busy_worker_leaves_hints_while_another_is_idle(listening: Listening, farm: Farm) -> None:
    ask_until(listening, farm, wanted=False)
    farm.another_is_idle = False
    ask_until(listening, farm, wanted=True)


@pytest.mark.parametrize("was_idle", [False, True])
def test_a_consumer_that_does_not_ask_is_woken_once_no_other_is_idle(
    listening: Listening, farm: Farm, was_idle: bool
) -> None:
    woken = threading.Event()
    listening.on_change = woken.set
    ask_until(listening, farm, wanted=False)
    if was_idle:
        farm.is_busy = False
        assert listening.seconds() is None
        with farm.answered:  # The thread rests.
            farm.answered.wait_for(lambda: False, timeout=0.1)
        farm.is_busy = True
        assert listening.seconds() == 0, "by the latest answer"
    assert not woken.is_set()
    farm.another_is_idle = False
    assert woken.wait(timeout=5)
    assert listening.seconds() == BUSY_WAIT_SECONDS


def test_a_change_wakes_the_event_loop_of_celery(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    woken: list[object] = []
    monkeypatch.setattr(Consumer, "register_with_event_loop", lambda *_: None)  # it needs a connection
    monkeypatch.setattr("worker.hints.consumer.wake", woken.append)
    consumer, hub = HintConsumer.__new__(HintConsumer), Hub()  # type: ignore[no-untyped-call]
    consumer._listening = listening
    consumer.task_consumer = SimpleNamespace(channel=SimpleNamespace(ask_before_waiting=asked.append))
    consumer.register_with_event_loop(hub)
    assert asked == [listening.seconds]
    listening.on_change()
    assert woken == [hub]


def test_an_idle_worker_waits_for_hints_whatever_others_do(listening: Listening, farm: Farm) -> None:
    ask_until(listening, farm, wanted=False)
    farm.is_busy = False
    assert listening.seconds() is None


def test_the_event_loop_does_not_wait_for_an_answer(listening: Listening, farm: Farm) -> None:
    farm.may_answer.clear()
    assert [listening.seconds() for _ in range(3)] == [BUSY_WAIT_SECONDS] * 3, "nothing is known yet"


@pytest.mark.parametrize("error", [Unavailable("the database is away"), RuntimeError("a fault")])
def test_without_an_answer_a_busy_worker_waits_for_hints_and_asks_again(
    listening: Listening, farm: Farm, error: Exception
) -> None:
    ask_until(listening, farm, wanted=False)
    farm.error = error
    ask_until(listening, farm, wanted=True)
    farm.error = None
    ask_until(listening, farm, wanted=False)


def test_a_hint_that_nobody_takes_keeps_the_consumer_listening_for_a_while(
    listening: Listening, farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_until(listening, farm, wanted=False)
    monkeypatch.setattr("worker.hints.listening.OPEN_SECONDS", 3600.0)
    farm.oldest_hint = b"hint"
    ask_until(listening, farm, wanted=True)
    farm.oldest_hint = None
    listening.note_idle()  # Such a hint is passed on again and again.
    assert [listening.seconds() for _ in range(3)] == [BUSY_WAIT_SECONDS] * 3


def test_a_hint_that_is_passed_on_to_an_idle_worker_ends_the_listening_of_a_busy_one(
    listening: Listening, farm: Farm
) -> None:
    farm.another_is_idle = False
    ask_until(listening, farm, wanted=True)
    farm.may_answer.clear()  # The latest answer stays.
    listening.note_idle()
    assert listening.seconds() == 0
    farm.may_answer.set()
    ask_until(listening, farm, wanted=True)


def test_a_consumer_that_leaves_hints_while_an_answer_is_under_way_is_woken_by_it(listening: Listening, farm: Farm) -> None:
    woken = threading.Event()
    listening.on_change = woken.set
    farm.another_is_idle = False
    ask_until(listening, farm, wanted=True)
    farm.may_answer.clear()
    with farm.answered:
        farm.answered.wait_for(lambda: False, timeout=0.1)  # The latest answer has become old.
    assert listening.seconds() == BUSY_WAIT_SECONDS
    with farm.answered:
        farm.answered.wait_for(lambda: False, timeout=0.1)  # The thread asks.
    listening.note_idle()
    assert listening.seconds() == 0
    assert not woken.is_set()
    farm.may_answer.set()
    assert woken.wait(timeout=5)


def test_hints_that_idle_workers_take_one_after_the_other_open_nothing(
    listening: Listening, farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = itertools.count()
    monkeypatch.setattr(listening, "_oldest_hint", lambda: b"hint %d" % next(numbers))
    ask_until(listening, farm, wanted=False)
    looks = farm.answers
    while farm.answers < looks + 5:
        assert listening.seconds() == 0
        with farm.answered:
            farm.answered.wait(timeout=0.05)
