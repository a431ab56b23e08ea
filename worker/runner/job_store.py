"""Claim and finish jobs for many threads, in group commits; ask whether another worker is idle."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from core.errors import Unavailable
from db import workers
from db.database import Database
from db.jobs.claim import Claimant, claim_many
from db.jobs.succeed import Success, finish_all_succeeded
from db.tables import Job

Q = TypeVar("Q")
A = TypeVar("A")

MAX_GROUP_SIZE = 64


class GroupCommit(Generic[Q, A]):
    """A thread that answers questions in rounds, as databases commit in groups: one transaction serves all of a round.

    A lone question is answered at once. `answer` gets the questions of a round and returns as many answers in the same
    order, or raises with nothing done.
    """

    def __init__(self, name: str, answer: Callable[[Sequence[Q]], Sequence[A]]) -> None:
        self._answer = answer
        self._asked: queue.SimpleQueue[tuple[Q, Future[A]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, question: Q) -> A:
        """Blocks until the round of this question is done; raises what it raised."""
        future: Future[A] = Future()
        self._asked.put((question, future))
        return future.result()

    @property
    def waiting(self) -> int:
        """Questions that no round has taken up yet."""
        return self._asked.qsize()

    def _run(self) -> None:
        while True:
            self._serve(self._round())

    def _round(self) -> list[tuple[Q, Future[A]]]:
        taken = [self._asked.get()]
        while len(taken) < MAX_GROUP_SIZE:
            try:
                taken.append(self._asked.get_nowait())
            except queue.Empty:
                break
        return taken

    def _serve(self, taken: Sequence[tuple[Q, Future[A]]]) -> None:
        try:
            answers = self._answer([question for question, _ in taken])
        except BaseException as error:  # noqa: BLE001 -- it is the askers' to handle
            self._fail(taken, error)
            return
        for (_, future), answer in zip(taken, answers, strict=True):
            future.set_result(answer)

    def _fail(self, taken: Sequence[tuple[Q, Future[A]]], error: BaseException) -> None:
        """While the database is away nobody fares better alone; whatever else it is may be one question's fault."""
        if len(taken) == 1 or isinstance(error, Unavailable):
            for _, future in taken:
                future.set_exception(error)
            return
        for each in taken:
            self._serve([each])


class JobStore:
    """Thread-safe. Methods raise Unavailable when the database is away."""

    def __init__(self, database: Database, model: str, claimant: Claimant) -> None:
        self._database = database
        self._model = model
        self._claimant = claimant
        self._claims = GroupCommit[str | None, Job | None]("claims", self._claim)
        self._successes = GroupCommit[Success, Job | None]("successes", self._succeed)

    def claim(self, hint: str | None) -> Job | None:
        """The best job for this worker, now running; `hint`, if any, is spent. None: there was nothing to take."""
        return self._claims.submit(hint)

    def succeed(self, success: Success) -> Job | None:
        """The job after it; None: the attempt no longer holds it."""
        return self._successes.submit(success)

    def _claim(self, asked: Sequence[str | None]) -> list[Job | None]:
        hints = [hint for hint in asked if hint is not None]
        jobs = claim_many(self._database, self._model, self._claimant, len(asked), hints)
        return [*jobs, *[None] * (len(asked) - len(jobs))]

    def _succeed(self, successes: Sequence[Success]) -> list[Job | None]:
        return finish_all_succeeded(self._database, successes)


CACHE_SECONDS = 0.1


class IdleWorkers:
    """Thread-safe: of many threads that ask at once, one looks."""

    def __init__(self, database: Database, model: str, own_name: str) -> None:
        self._database = database
        self._model = model
        self._own_name = own_name
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._answer = False

    def any_idle(self) -> bool:
        """As the database said no more than a moment ago; raises Unavailable."""
        with self._lock:
            if time.monotonic() - self._asked_at > CACHE_SECONDS:
                self._answer = workers.idle_worker_exists(self._database, self._model, besides=self._own_name)
                self._asked_at = time.monotonic()
            return self._answer
