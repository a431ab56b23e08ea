"""Commit jobs in groups: those that arrive while a transaction runs share the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import partial
from typing import TypeGuard

from api.threads import in_thread
from core.errors import FarmError, Unavailable
from db.database import Database
from db.jobs.submit import Submission, Submitted, submit, submit_all
from db.tables import Job

MAX_GROUP_SIZE = 64

Results = Sequence[Submitted | FarmError]


class SubmitGroups:
    """For the event loop of one process. A job that arrives alone is committed at once.

    `publish` gets each job that needs a hint, on any thread. `publish_here` gets a job alone, and what tells its caller: it
    sends the hint on its thread, which is sooner than on another one, and tells the caller before it waits for Redis.
    """

    def __init__(
        self,
        database: Database,
        publish: Callable[[Job], object],
        publish_here: Callable[[Job, Callable[[], object]], object],
    ) -> None:
        self._database = database
        self._publish, self._publish_here = publish, publish_here
        self._waiting: deque[tuple[Submission, asyncio.Future[Submitted]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def submit(self, submission: Submission) -> Submitted:
        """Store the job. Raises like `db.jobs.submit.submit`."""
        if submission.locks_uploads:
            submitted = await in_thread(submit, self._database, submission.new, submission.idempotency)
            self._publish_hints([submitted])
            return submitted
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
            results = await self._store([submission for submission, _ in group])
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

    async def _store(self, group: Sequence[Submission]) -> Results:
        """Commit on a thread, which then publishes; return the results once they are there, without waiting for that."""
        loop = asyncio.get_running_loop()
        committed: asyncio.Future[Results] = loop.create_future()

        def run() -> None:
            try:
                results = submit_all(self._database, group)
            except Exception as error:  # noqa: BLE001 -- raised where the results are awaited
                loop.call_soon_threadsafe(_fail, committed, error)
                return
            tell = partial(loop.call_soon_threadsafe, _succeed, committed, results)
            if len(results) == 1 and _needs_hint(results[0]):
                self._publish_here(results[0].job, tell)
            else:
                tell()
                self._publish_hints(results)

        loop.run_in_executor(None, partial(copy_context().run, run))
        return await committed

    def _publish_hints(self, results: Results) -> None:
        for each in results:
            if _needs_hint(each):
                self._publish(each.job)


def _needs_hint(result: Submitted | FarmError) -> TypeGuard[Submitted]:
    """Return whether it is a new job for a worker. Nobody else is told: who could wait for it does not know its id yet."""
    return isinstance(result, Submitted) and result.hint and not result.replayed


def _succeed(future: asyncio.Future[Results], results: Results) -> None:
    if not future.done():
        future.set_result(results)


def _fail(future: asyncio.Future[Submitted] | asyncio.Future[Results], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
