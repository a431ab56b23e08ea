"""Who waits for which job; lives on the event loop of one process."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from core.lifecycle import SETTLED

_REMEMBERED = 4096


class Subscription:
    """One waiter's view of one job: only the latest news are kept, so a slow reader costs no memory."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.revision = 0
        self.settled = False
        self.progress: dict[str, Any] | None = None
        self._news = asyncio.Event()

    def tell(self) -> None:
        """Wakes the waiter."""
        self._news.set()

    async def wait(self, timeout: float) -> bool:
        """Until there is news or `timeout` seconds have passed; whether there is news."""
        try:
            async with asyncio.timeout(max(timeout, 0)):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True


class Hub:
    """Hands news to subscriptions and remembers the latest progress of running jobs."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, set[Subscription]] = {}
        self.on_settled: Callable[[], None] = lambda: None
        self._progress: OrderedDict[str, dict[str, Any]] = OrderedDict()

    @contextmanager
    def subscribe(self, job_id: str) -> Iterator[Subscription]:
        """News of a job from now on; read the job after entering, so that nothing falls between."""
        subscription = Subscription(job_id)
        self._subscriptions.setdefault(job_id, set()).add(subscription)
        try:
            yield subscription
        finally:
            waiters = self._subscriptions[job_id]
            waiters.discard(subscription)
            if not waiters:
                del self._subscriptions[job_id]

    @property
    def watched(self) -> dict[str, int]:
        """Job id -> the lowest revision that a waiter of it was told of."""
        return {job: min(waiter.revision for waiter in waiters) for job, waiters in self._subscriptions.items()}

    @property
    def waiters(self) -> int:
        """How many subscriptions there are."""
        return sum(len(waiters) for waiters in self._subscriptions.values())

    def changed(self, job_id: str, revision: int, status: str) -> None:
        """A job has a new revision."""
        if status in SETTLED:
            self._progress.pop(job_id, None)
            self.on_settled()
        for waiter in self._subscriptions.get(job_id, ()):
            if revision > waiter.revision:
                waiter.revision, waiter.settled = revision, status in SETTLED
                waiter.tell()

    def progressed(self, job_id: str, progress: dict[str, Any]) -> None:
        """A running job made a step."""
        self._progress[job_id] = progress
        self._progress.move_to_end(job_id)
        while len(self._progress) > _REMEMBERED:
            self._progress.popitem(last=False)
        for waiter in self._subscriptions.get(job_id, ()):
            waiter.progress = progress
            waiter.tell()

    def wake_all(self) -> None:
        """Wakes every waiter, although nothing happened: the process is about to stop."""
        for waiters in self._subscriptions.values():
            for waiter in waiters:
                waiter.tell()

    def progress_of(self, job_id: str) -> dict[str, Any] | None:
        """The latest progress heard of, if any."""
        return self._progress.get(job_id)
