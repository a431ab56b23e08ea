"""Calls that run on the event loop's own thread while they are quick."""

from __future__ import annotations

import threading

import pytest

from api.threads import CAUTIOUS_SECONDS, SLOW_SECONDS, QuickCalls

pytestmark = pytest.mark.anyio


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_slow_call_moves_the_next_ones_to_threads_for_a_while() -> None:
    clock, here = Clock(), threading.get_ident()
    calls = QuickCalls(are_quick=True, clock=clock)

    def took(seconds: float) -> int:
        clock.now += seconds
        return threading.get_ident()

    assert await calls.run(took, SLOW_SECONDS / 2) == here
    assert await calls.run(took, SLOW_SECONDS * 2) == here
    assert await calls.run(took, 0.0) != here
    clock.now += CAUTIOUS_SECONDS
    assert await calls.run(took, 0.0) == here


async def test_a_slow_call_that_fails_counts_as_slow() -> None:
    clock, here = Clock(), threading.get_ident()
    calls = QuickCalls(are_quick=True, clock=clock)

    def fail() -> None:
        clock.now += SLOW_SECONDS * 2
        raise LookupError

    with pytest.raises(LookupError):
        await calls.run(fail)
    assert await calls.run(threading.get_ident) != here


async def test_calls_that_are_not_quick_run_on_threads() -> None:
    assert await QuickCalls(are_quick=False).run(threading.get_ident) != threading.get_ident()
