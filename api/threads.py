"""Calls that block, such as the database's, on the event loop's few threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 12
"""As many calls run at once; more threads would mostly wait for each other."""


def make_threads() -> ThreadPoolExecutor:
    """The pool that `in_thread` uses once it is the loop's default executor."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix="api")


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `call`, made on a thread; costs half of what anyio's limiter and context copy do."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, partial(call, *args, **kwargs))
