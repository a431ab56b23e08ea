"""Claim and finish jobs for many threads, in group commits."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar, cast

from core.errors import Unavailable
from db.database import Database
from db.jobs.claim import Claimant, claim_and_look
from db.jobs.succeed import Success, finish_and_look
from db.size_limits import SizeLimit
from db.tables import Job

Q = TypeVar("Q")
A = TypeVar("A")

MAX_GROUP_SIZE = 64
CROWD = 4
"""With so many jobs under way, requests wait for others to share a transaction: one alone costs ten times as much."""
GATHER_SECONDS = 0.02
"""How long they wait."""
LARGE_CROWD, LARGE_GATHER_SECONDS = 32, 0.05
"""The same where so many are under way: with the former time most groups of a flood are of a few jobs."""


@dataclass(frozen=True)
class _Waiting(Generic[Q, A]):
    """A request, and where its caller's thread waits: such a queue costs a fraction of a Future."""

    request: Q
    _answer: queue.SimpleQueue[tuple[A | None, BaseException | None]] = field(default_factory=queue.SimpleQueue)

    def answer(self, answer: A) -> None:
        """Let the caller go on."""
        self._answer.put((answer, None))

    def fail(self, error: BaseException) -> None:
        """Raise the error in the caller's thread."""
        self._answer.put((None, error))

    def wait(self) -> A:
        """Block until there is an answer; return it or raise its error."""
        answer, error = self._answer.get()
        if error is not None:
            raise error
        return cast("A", answer)


class GroupCommit(Generic[Q, A]):
    """Run the requests of many threads in groups, one transaction per group.

    A single request runs at once, on its caller's thread; requests that arrive meanwhile form the next group, which a thread
    of this object runs: waking it for a single one would take longer than the request. While `gather_seconds` is not 0, all
    requests wait for so long. `execute` takes the requests of a group and returns as many results in the same order, or
    raises with nothing done.
    """

    def __init__(
        self, name: str, execute: Callable[[Sequence[Q]], Sequence[A]], gather_seconds: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._execute = execute
        self._gather_seconds = gather_seconds
        self._submitted: queue.SimpleQueue[_Waiting[Q, A]] = queue.SimpleQueue()
        self._serving = threading.Lock()
        self._left_over = threading.Event()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, request: Q) -> A:
        """Block until the group of this request is done; return its result or raise its error."""
        waiting: _Waiting[Q, A] = _Waiting(request)
        self._submitted.put(waiting)
        if self._gather_seconds():
            self._left_over.set()
        elif self._serving.acquire(blocking=False):
            try:
                self._serve(self._next_group())
            finally:
                self._serving.release()
            # Only now: who could not acquire the lock has queued a request before.
            if not self._submitted.empty():
                self._left_over.set()
        return waiting.wait()

    @property
    def waiting(self) -> int:
        """Number of requests that are in no group yet."""
        return self._submitted.qsize()

    def _run(self) -> None:
        while True:
            self._left_over.wait()
            self._left_over.clear()
            while not self._submitted.empty():
                if seconds := self._gather_seconds():
                    time.sleep(seconds)
                with self._serving:
                    self._serve(self._next_group())

    def _next_group(self) -> list[_Waiting[Q, A]]:
        group: list[_Waiting[Q, A]] = []
        while len(group) < MAX_GROUP_SIZE:
            try:
                group.append(self._submitted.get_nowait())
            except queue.Empty:
                break
        return group

    def _serve(self, group: Sequence[_Waiting[Q, A]]) -> None:
        if not group:
            return
        try:
            answers = self._execute([each.request for each in group])
        except BaseException as error:  # noqa: BLE001 -- raised by `submit` in the callers' threads
            self._fail(group, error)
            return
        for each, answer in zip(group, answers, strict=True):
            each.answer(answer)

    def _fail(self, group: Sequence[_Waiting[Q, A]], error: BaseException) -> None:
        """Fail all requests when the database is unavailable; otherwise run each alone: one may be the cause."""
        if len(group) == 1 or isinstance(error, Unavailable):
            for each in group:
                each.fail(error)
            return
        for each in group:
            self._serve([each])


class JobStore:
    """Thread-safe. Methods raise Unavailable when the database is unavailable.

    `take_hints` removes up to so many hints of a model from the broker and returns the ids of their jobs. `under_way`
    returns how many jobs this worker runs or claims. `sizes` returns the largest image of a model that it can hold.
    """

    def __init__(
        self,
        database: Database,
        claimant: Claimant,
        take_hints: Callable[[str, int], Sequence[str]],
        under_way: Callable[[], int],
        sizes: Callable[[str], SizeLimit | None],
    ) -> None:
        self._database = database
        self._take_hints = take_hints
        self._claimant = claimant
        self._sizes = sizes
        self.more_may_wait = True
        """Whether a job may wait for a free worker: false where the latest transaction here saw none."""
        self.some_without_hint = False
        """Whether the latest claim that got a job saw others without a hint."""

        def gather_seconds() -> float:
            count = under_way()
            return 0.0 if count < CROWD else GATHER_SECONDS if count < LARGE_CROWD else LARGE_GATHER_SECONDS

        self._claims = GroupCommit[tuple[str, str | None], Job | None]("claims", self._claim, gather_seconds)
        self._successes = GroupCommit[Success, Job | None]("successes", self._succeed, gather_seconds)

    def claim(self, model: str, hint: str | None) -> Job | None:
        """Claim the model's best job for this worker and return it; None when no job waits.

        `hint` is used up; without one, one is taken from the broker, if it has any: hints are only for idle workers.
        """
        return self._claims.submit((model, hint))

    def succeed(self, success: Success) -> Job | None:
        """Finish the attempt and return the job after it; None when the attempt no longer holds the job."""
        return self._successes.submit(success)

    def _claim(self, requests: Sequence[tuple[str, str | None]]) -> list[Job | None]:
        # One model is loaded at a time, and it stays loaded while anybody claims for it.
        (model,) = {model for model, _ in requests}
        hints = [hint for _, hint in requests if hint is not None]
        if without := len(requests) - len(hints):
            hints += self._take_hints(model, without)
        claimant = replace(self._claimant, sizes=self._sizes(model))
        jobs, some_without_hint = claim_and_look(self._database, model, claimant, len(requests), hints)
        if jobs:
            self.more_may_wait, self.some_without_hint = True, some_without_hint
        return [*jobs, *[None] * (len(requests) - len(jobs))]

    def _succeed(self, successes: Sequence[Success]) -> list[Job | None]:
        finished, self.more_may_wait = finish_and_look(self._database, successes)
        return finished
