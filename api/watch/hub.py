"""Wake those who wait for changes of jobs; lives on the event loop of one process."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from core.lifecycle import SETTLED


class Waiter:
    """Wakes one waiter."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Wakes the waiter."""
        self._woken.set()

    async def wait(self, timeout: float) -> bool:
        """Until there is news or `timeout` seconds have passed; whether there is news."""
        try:
            async with asyncio.timeout(max(timeout, 0)):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True


class Subscription(Waiter):
    """One waiter's view of one job: only the latest news are kept, so a slow reader costs no memory."""

    def __init__(self) -> None:
        super().__init__()
        self.revision = 0
        self.settled = False
        self.gone = False
        """Deleted, though nobody heard that it settled."""
        self.progress: dict[str, Any] | None = None

    def changed(self, job_id: str, revision: int, *, settled: bool) -> None:
        """The job has a new revision."""
        if revision > self.revision:
            self.revision, self.settled = revision, settled
            self.wake()

    def progressed(self, progress: dict[str, Any]) -> None:
        """The job made a step."""
        self.progress = progress
        self.wake()

    def deleted(self, job_id: str) -> None:
        """The job is not there any more."""
        self.gone = True
        self.wake()


class OpenJobs(Waiter):
    """One waiter's view of many jobs: woken once, when none of them is open any more."""

    def __init__(self, job_ids: Collection[str]) -> None:
        super().__init__()
        self._open = set(job_ids)

    def keep(self, job_ids: Collection[str]) -> None:
        """Only these are still open."""
        self._open.intersection_update(job_ids)
        self._wake_if_none_open()

    def changed(self, job_id: str, revision: int, *, settled: bool) -> None:
        """A job has a new revision."""
        if settled:
            self.deleted(job_id)

    def progressed(self, progress: dict[str, Any]) -> None:
        """A step is no news here."""

    def deleted(self, job_id: str) -> None:
        """A job is not there any more, or will not move any more."""
        self._open.discard(job_id)
        self._wake_if_none_open()

    def _wake_if_none_open(self) -> None:
        if not self._open:
            self.wake()


_REMEMBERED = 4096

_AnyWaiter = Subscription | OpenJobs


class Hub:
    """Hands news to those who wait and remembers the latest progress of running jobs."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[_AnyWaiter]] = {}
        self._waiters: set[_AnyWaiter] = set()
        self.on_settled: Callable[[], None] = lambda: None
        self._progress: OrderedDict[str, dict[str, Any]] = OrderedDict()

    @contextmanager
    def subscribe(self, job_id: str) -> Iterator[Subscription]:
        """News of a job from now on; read the job after entering, so that nothing falls between."""
        subscription = Subscription()
        with self._listening(subscription, (job_id,)):
            yield subscription

    @contextmanager
    def subscribe_all(self, job_ids: Collection[str]) -> Iterator[OpenJobs]:
        """Many jobs until all have settled; look which are open after entering, so that nothing falls between."""
        jobs = OpenJobs(job_ids)
        with self._listening(jobs, job_ids):
            yield jobs

    @contextmanager
    def _listening(self, waiter: _AnyWaiter, job_ids: Collection[str]) -> Iterator[None]:
        self._waiters.add(waiter)
        for job_id in job_ids:
            self._waiting.setdefault(job_id, set()).add(waiter)
        try:
            yield
        finally:
            self._waiters.discard(waiter)
            for job_id in job_ids:
                self._leave(job_id, waiter)

    def _leave(self, job_id: str, waiter: _AnyWaiter) -> None:
        waiters = self._waiting.get(job_id, set())
        waiters.discard(waiter)
        if not waiters:
            self._waiting.pop(job_id, None)

    @property
    def watched(self) -> list[str]:
        """Ids of the jobs that somebody waits for."""
        return list(self._waiting)

    @property
    def waiters(self) -> int:
        """How many wait."""
        return len(self._waiters)

    def changed(self, job_id: str, revision: int, status: str) -> None:
        """A job has a new revision."""
        settled = status in SETTLED
        if settled:
            self._progress.pop(job_id, None)
            self.on_settled()
        for waiter in self._waiting.get(job_id, ()):
            waiter.changed(job_id, revision, settled=settled)

    def deleted(self, job_id: str) -> None:
        """A job is not there any more."""
        self._progress.pop(job_id, None)
        for waiter in self._waiting.get(job_id, ()):
            waiter.deleted(job_id)

    def progressed(self, job_id: str, progress: dict[str, Any]) -> None:
        """A running job made a step."""
        self._progress[job_id] = progress
        self._progress.move_to_end(job_id)
        while len(self._progress) > _REMEMBERED:
            self._progress.popitem(last=False)
        for waiter in self._waiting.get(job_id, ()):
            waiter.progressed(progress)

    def wake_all(self) -> None:
        """Wakes every waiter, although nothing happened: the process is about to stop."""
        for waiter in self._waiters:
            waiter.wake()

    def progress_of(self, job_id: str) -> dict[str, Any] | None:
        """The latest progress heard of, if any."""
        return self._progress.get(job_id)
