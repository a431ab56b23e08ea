"""A deadline that is moved in time never fires; one that is not fires once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from worker.engine.watchdog import Watchdog


class Bell:
    def __init__(self) -> None:
        self.rung: list[str] = []
        self.event = threading.Event()

    def ring(self, reason: str) -> None:
        self.rung.append(reason)
        self.event.set()


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def watchdog(bell: Bell) -> Iterator[Watchdog]:
    dog = Watchdog(bell.ring)
    yield dog
    dog.close()


def test_it_fires_with_the_latest_reason(watchdog: Watchdog, bell: Bell) -> None:
    watchdog.expect(1000, "first")
    watchdog.expect(0.01, "second")
    assert bell.event.wait(10)
    assert bell.rung == ["second"]


def test_relaxed_it_does_not_fire(watchdog: Watchdog, bell: Bell) -> None:
    watchdog.expect(0.2, "never")
    watchdog.relax()
    watchdog.expect(1000, "later")
    assert not bell.event.wait(0.4)


def test_it_can_be_armed_again_after_it_fired(watchdog: Watchdog, bell: Bell) -> None:
    watchdog.expect(0, "one")
    assert bell.event.wait(10)
    bell.event.clear()
    watchdog.expect(0, "two")
    assert bell.event.wait(10)
    assert bell.rung == ["one", "two"]
