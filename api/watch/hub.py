"""Hub of waiters for changes of jobs, on the event loop of one process."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from core.lifecycle import SETTLED

if TYPE_CHECKING:
    from api.watch.feed import Feed


class Waiter:
    """One waiting coroutine."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Wake the coroutine."""
        self._woken.set()

    async def wait(self, timeout: float) -> bool:
        """Wait for an event for at most `timeout` seconds; return whether one came."""
        try:
            async with asyncio.timeout(max(timeout, 0)):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True


class Subscription(Waiter):
    """A waiter for one job. It keeps only the latest state, so that a slow reader needs no memory."""

    def __init__(self) -> None:
        super().__init__()
        self.revision = 0
        self.settled = False
        self.job_deleted = False
        """The job was deleted, and the event of its end may have been lost."""
        self.progress: dict[str, Any] | None = None

    def changed(self, job_id: str, revision: int, *, settled: bool) -> None:
        """Record a new revision of the job."""
        if revision > self.revision:
            self.revision, self.settled = revision, settled
            self.wake()

    def progressed(self, progress: dict[str, Any]) -> None:
        """Record progress of the job."""
        self.progress = progress
        self.wake()

    def deleted(self, job_id: str) -> None:
        """Record that the job no longer exists."""
        self.job_deleted = True
        self.wake()


class OpenJobs(Waiter):
    """A waiter for many jobs, woken once when none of them is open any more."""

    def __init__(self, job_ids: Collection[str]) -> None:
        super().__init__()
        self._open = set(job_ids)

    def keep(self, job_ids: Collection[str]) -> None:
        """Keep only these jobs as open."""
        self._open.intersection_update(job_ids)
        self._wake_if_none_open()

    def changed(self, job_id: str, revision: int, *, settled: bool) -> None:
        """Remove a settled job."""
        if settled:
            self.deleted(job_id)

    def progressed(self, progress: dict[str, Any]) -> None:
        """Ignore progress."""

    def deleted(self, job_id: str) -> None:
        """Remove a job that no longer exists or has settled."""
        self._open.discard(job_id)
        self._wake_if_none_open()

    def _wake_if_none_open(self) -> None:
        if not self._open:
            self.wake()


class Observer(Protocol):
    """Takes the events of all jobs; it must return at once."""

    def changed(self, job_id: str, revision: int, status: str) -> None:
        """Take a new revision of a job."""

    def progressed(self, job_id: str, progress: dict[str, Any]) -> None:
        """Take the progress of a running job."""


_MAX_PROGRESS = 4096

_AnyWaiter = Subscription | OpenJobs


class Hub:
    """Passes events to waiters and keeps the latest progress of running jobs."""

    def __init__(self) -> None:
        self._by_job: dict[str, set[_AnyWaiter]] = {}
        self._waiters: set[Waiter] = set()
        self._feeds: set[Feed] = set()
        self.on_settled: Callable[[bool], object] = lambda _: None
        """Called for each job that has settled, with whether it may name a webhook of its own."""
        self.observers: list[Observer] = []
        self._progress: OrderedDict[str, dict[str, Any]] = OrderedDict()

    @contextmanager
    def subscribe(self, job_id: str) -> Iterator[Subscription]:
        """Subscribe to a job from now on; read the job after entering, so that no change is missed."""
        subscription = Subscription()
        with self._listening(subscription, (job_id,)):
            yield subscription

    @contextmanager
    def subscribe_all(self, job_ids: Collection[str]) -> Iterator[OpenJobs]:
        """Subscribe to many jobs until all have settled; read the open ones after entering, so that no change is missed."""
        jobs = OpenJobs(job_ids)
        with self._listening(jobs, job_ids):
            yield jobs

    @contextmanager
    def follow(self, feed: Feed) -> Iterator[None]:
        """Pass everything to a feed, too."""
        self._feeds.add(feed)
        self._waiters.add(feed)
        try:
            yield
        finally:
            self._feeds.discard(feed)
            self._waiters.discard(feed)

    @contextmanager
    def _listening(self, waiter: _AnyWaiter, job_ids: Collection[str]) -> Iterator[None]:
        self._waiters.add(waiter)
        for job_id in job_ids:
            self._by_job.setdefault(job_id, set()).add(waiter)
        try:
            yield
        finally:
            self._waiters.discard(waiter)
            for job_id in job_ids:
                self._remove(job_id, waiter)

    def _remove(self, job_id: str, waiter: _AnyWaiter) -> None:
        waiters = self._by_job.get(job_id, set())
        waiters.discard(waiter)
        if not waiters:
            self._by_job.pop(job_id, None)

    @property
    def watched(self) -> list[str]:
        """Return the ids of the jobs with waiters."""
        return list(self._by_job)

    @property
    def waiters(self) -> int:
        """Return the number of waiters."""
        return len(self._waiters)

    def changed(self, job_id: str, revision: int, status: str, *, may_have_webhook: bool = True) -> None:
        """Pass on a new revision of a job."""
        settled = status in SETTLED
        if settled:
            self._progress.pop(job_id, None)
            self.on_settled(may_have_webhook)
        for waiter in self._by_job.get(job_id, ()):
            waiter.changed(job_id, revision, settled=settled)
        for observer in self.observers:
            observer.changed(job_id, revision, status)
        for feed in self._feeds:
            feed.changed(job_id)

    def deleted(self, job_id: str) -> None:
        """Pass on that a job no longer exists."""
        self._progress.pop(job_id, None)
        for waiter in self._by_job.get(job_id, ()):
            waiter.deleted(job_id)

    def progressed(self, job_id: str, progress: dict[str, Any]) -> None:
        """Pass on the progress of a running job."""
        self._progress[job_id] = progress
        self._progress.move_to_end(job_id)
        while len(self._progress) > _MAX_PROGRESS:
            self._progress.popitem(last=False)
        for waiter in self._by_job.get(job_id, ()):
            waiter.progressed(progress)
        for observer in self.observers:
            observer.progressed(job_id, progress)
        for feed in self._feeds:
            feed.progressed(job_id, progress)

    def wake_all(self) -> None:
        """Wake every waiter without an event, because the process is about to stop."""
        for waiter in self._waiters:
            waiter.wake()

    def progress_of(self, job_id: str) -> dict[str, Any] | None:
        """Return the latest progress, if any was received."""
        return self._progress.get(job_id)
