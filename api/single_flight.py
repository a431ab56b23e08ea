"""Share one read between all callers that ask for the same thing at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


class SingleFlight:
    """Callers that come while a read is under way get its result; it may be as old as that read's start."""

    def __init__(self) -> None:
        self._under_way: dict[object, asyncio.Task[Any]] = {}

    async def join(self, key: object, read: Callable[[], Awaitable[T]]) -> T:
        """The result of the read under way for `key`, or of a new one."""
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.ensure_future(read())
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        # Shielded: one caller that goes away must not take the read from the others.
        result: T = await asyncio.shield(task)
        return result
