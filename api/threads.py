"""Run blocking calls, such as database queries, on a thread pool, or on the event loop's own thread while that is quick."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 12
"""Calls that run at once; more threads would mostly wait for each other."""

SLOW_SECONDS = 0.01
"""A quick call that takes longer has waited for a disk or a lock."""
CAUTIOUS_SECONDS = 10.0
"""For so long after it, quick calls run on threads."""


def make_threads() -> ThreadPoolExecutor:
    """Create the pool that `in_thread` uses once it is the loop's default executor."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix="api")


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `call` on a thread and return its result; costs half as much as anyio's limiter and context copy."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, partial(copy_context().run, call, *args, **kwargs))


class QuickCalls:
    """Runs calls that take a tenth of a millisecond on the event loop's own thread; two wake-ups of a thread take longer.

    After one that was slow the calls run on threads for a while, so that the loop waits once and not again and again.
    Without `are_quick` they always do. Use it on one event loop.
    """

    def __init__(self, *, are_quick: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._threads_until = float("-inf") if are_quick else float("inf")

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `call` and return its result."""
        started = self._clock()
        if started < self._threads_until:
            return await in_thread(call, *args, **kwargs)
        try:
            return call(*args, **kwargs)
        finally:
            if (ended := self._clock()) - started > SLOW_SECONDS:
                self._threads_until = ended + CAUTIOUS_SECONDS
