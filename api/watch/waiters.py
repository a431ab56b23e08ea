"""Those who wait: for news of one job, or for many jobs to settle."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any


class Bell:
    """Wakes one waiter."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def tell(self) -> None:
        """Wakes the waiter."""
        self._rung.set()

    async def wait(self, timeout: float) -> bool:
        """Until there is news or `timeout` seconds have passed; whether there is news."""
        try:
            async with asyncio.timeout(max(timeout, 0)):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True


class Subscription(Bell):
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
            self.tell()

    def progressed(self, progress: dict[str, Any]) -> None:
        """The job made a step."""
        self.progress = progress
        self.tell()

    def deleted(self, job_id: str) -> None:
        """The job is not there any more."""
        self.gone = True
        self.tell()


class OpenJobs(Bell):
    """One waiter's view of many jobs: woken once, when none of them is open any more."""

    def __init__(self, job_ids: Collection[str]) -> None:
        super().__init__()
        self._open = set(job_ids)

    def keep(self, job_ids: Collection[str]) -> None:
        """Only these are still open."""
        self._open.intersection_update(job_ids)
        self._tell_if_none()

    def changed(self, job_id: str, revision: int, *, settled: bool) -> None:
        """A job has a new revision."""
        if settled:
            self.deleted(job_id)

    def progressed(self, progress: dict[str, Any]) -> None:
        """A step is no news here."""

    def deleted(self, job_id: str) -> None:
        """A job is not there any more, or will not move any more."""
        self._open.discard(job_id)
        self._tell_if_none()

    def _tell_if_none(self) -> None:
        if not self._open:
            self.tell()
