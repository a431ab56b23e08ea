"""Who waits for which job; lives on the event loop of one process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from api.watch.waiters import OpenJobs, Subscription
from core.lifecycle import SETTLED

_REMEMBERED = 4096

_Waiter = Subscription | OpenJobs


class Hub:
    """Hands news to those who wait and remembers the latest progress of running jobs."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[_Waiter]] = {}
        self._waiters: set[_Waiter] = set()
        self.on_settled: Callable[[], None] = lambda: None
        self._progress: OrderedDict[str, dict[str, Any]] = OrderedDict()

    @contextmanager
    def subscribe(self, job_id: str) -> Iterator[Subscription]:
        """News of a job from now on; read the job after entering, so that nothing falls between."""
        subscription = Subscription()
        with self._listening(subscription, (job_id,)):
            yield subscription

    @contextmanager
    def gather(self, job_ids: Collection[str]) -> Iterator[OpenJobs]:
        """Many jobs until all have settled; look which are open after entering, so that nothing falls between."""
        jobs = OpenJobs(job_ids)
        with self._listening(jobs, job_ids):
            yield jobs

    @contextmanager
    def _listening(self, waiter: _Waiter, job_ids: Collection[str]) -> Iterator[None]:
        self._waiters.add(waiter)
        for job_id in job_ids:
            self._waiting.setdefault(job_id, set()).add(waiter)
        try:
            yield
        finally:
            self._waiters.discard(waiter)
            for job_id in job_ids:
                self._leave(job_id, waiter)

    def _leave(self, job_id: str, waiter: _Waiter) -> None:
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
            waiter.tell()

    def progress_of(self, job_id: str) -> dict[str, Any] | None:
        """The latest progress heard of, if any."""
        return self._progress.get(job_id)
