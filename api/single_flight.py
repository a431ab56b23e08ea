"""Share one read among the callers that ask for the same at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


class SingleFlight:
    """Gives concurrent callers with the same key the result of a read in progress, as old as its start.

    For what is read anew once it is too old, too: every request of that moment would read it, each on a connection of
    its own.
    """

    def __init__(self) -> None:
        self._in_progress: dict[object, asyncio.Task[Any]] = {}

    async def join(self, key: object, read: Callable[[], Awaitable[T]]) -> T:
        """Return the result of the read in progress for `key`, or of a new one."""
        task = self._in_progress.get(key)
        if task is None:
            task = self._in_progress[key] = asyncio.ensure_future(read())
            task.add_done_callback(lambda ended: self._end(key, ended))
        # Shielded: a caller that disconnects must not cancel the read of the others.
        result: T = await asyncio.shield(task)
        return result

    def forget(self, key: object) -> None:
        """Let the next caller read anew, whatever a read in progress finds."""
        self._in_progress.pop(key, None)

    def _end(self, key: object, task: asyncio.Task[Any]) -> None:
        if self._in_progress.get(key) is task:
            del self._in_progress[key]
