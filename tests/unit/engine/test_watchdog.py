"""A deadline that is moved in time does not fire; any other fires once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from worker.engine.watchdog import Watchdog


class Expiries:
    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.event = threading.Event()

    def record(self, reason: str) -> None:
        self.reasons.append(reason)
        self.event.set()


@pytest.fixture
def expiries() -> Expiries:
    return Expiries()


@pytest.fixture
def watchdog(expiries: Expiries) -> Iterator[Watchdog]:
    watchdog = Watchdog(expiries.record)
    yield watchdog
    watchdog.close()


def test_it_fires_with_the_latest_reason(watchdog: Watchdog, expiries: Expiries) -> None:
    watchdog.arm(1000, "first")
    watchdog.arm(0.01, "second")
    assert expiries.event.wait(120)
    assert expiries.reasons == ["second"]


def test_a_removed_deadline_does_not_fire(watchdog: Watchdog, expiries: Expiries) -> None:
    for _ in range(20):  # This process may be paused before it removes the deadline.
        expiries.event.clear()
        started = time.monotonic()
        watchdog.arm(0.2, "never")
        watchdog.disarm()
        if time.monotonic() - started < 0.2:
            break
    watchdog.arm(1000, "later")
    assert not expiries.event.wait(0.4)


def test_it_fires_again_for_a_new_deadline(watchdog: Watchdog, expiries: Expiries) -> None:
    watchdog.arm(0, "one")
    assert expiries.event.wait(120)
    expiries.event.clear()
    watchdog.arm(0, "two")
    assert expiries.event.wait(120)
    assert expiries.reasons == ["one", "two"]
