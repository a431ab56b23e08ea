"""What the runner's threads write to the database most: claims and successes, those of many threads in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from db.database import Database
from db.jobs.claim import Claimant, claim_many
from db.jobs.succeed import Success, finish_all_succeeded
from db.tables import Job
from worker.runner.together import Together


class Ledger:
    """Thread-safe. Methods raise Unavailable when the database is away."""

    def __init__(self, database: Database, model: str, claimant: Claimant) -> None:
        self._database = database
        self._model = model
        self._claimant = claimant
        self._claims = Together[str | None, Job | None]("claims", self._claim)
        self._successes = Together[Success, Job | None]("successes", self._succeed)

    def claim(self, hint: str | None) -> Job | None:
        """The best job for this worker, now running; `hint`, if any, is spent. None: there was nothing to take."""
        return self._claims.ask(hint)

    def succeed(self, success: Success) -> Job | None:
        """The job after it; None: the attempt no longer holds it."""
        return self._successes.ask(success)

    def _claim(self, asked: Sequence[str | None]) -> list[Job | None]:
        hints = [hint for hint in asked if hint is not None]
        jobs = claim_many(self._database, self._model, self._claimant, len(asked), hints)
        return [*jobs, *[None] * (len(asked) - len(jobs))]

    def _succeed(self, successes: Sequence[Success]) -> list[Job | None]:
        return finish_all_succeeded(self._database, successes)
