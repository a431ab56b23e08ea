"""Commit jobs in groups: those that arrive while a transaction runs share the next one."""

from __future__ import annotations

import asyncio
from collections import deque

from api.threads import in_thread
from core.errors import FarmError, Unavailable
from db.database import Database
from db.jobs.submit import Submission, Submitted, submit, submit_all

MAX_GROUP_SIZE = 64


class SubmitGroups:
    """For the event loop of one process. A job that arrives alone is committed at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[tuple[Submission, asyncio.Future[Submitted]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def submit(self, submission: Submission) -> Submitted:
        """Store the job. Raises like `db.jobs.submit.submit`."""
        if submission.locks_uploads:
            return await in_thread(submit, self._database, submission.new, submission.idempotency)
        future: asyncio.Future[Submitted] = asyncio.get_running_loop().create_future()
        self._waiting.append((submission, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_GROUP_SIZE))]
                await self._commit(group)
        finally:
            self._task = None

    async def _commit(self, group: list[tuple[Submission, asyncio.Future[Submitted]]]) -> None:
        try:
            results = await in_thread(submit_all, self._database, [submission for submission, _ in group])
        except Exception as error:  # noqa: BLE001 -- raised by `submit` in each caller
            if len(group) > 1 and not isinstance(error, Unavailable):
                for each in group:  # One of them may be the cause.
                    await self._commit([each])
                return
            for _, future in group:
                _fail(future, error)
            return
        for (_, future), result in zip(group, results, strict=True):
            if isinstance(result, FarmError):
                _fail(future, result)
            elif not future.done():
                future.set_result(result)


def _fail(future: asyncio.Future[Submitted], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
