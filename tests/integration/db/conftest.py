"""Fixtures: a migrated database of each kind, and functions to submit and claim jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from db import workers
from db.database import Database
from db.jobs.claim import Claimant, claim_next
from db.jobs.submit import NewJob, submit
from db.tables import Job
from tests.conftest import Migrate

Submit = Callable[..., Job]
Claim = Callable[..., Job | None]


@pytest.fixture
def database(database_url: str, migrate: Migrate) -> Iterator[Database]:
    """Yield a database with empty tables, once on SQLite, once on Postgres."""
    migrate(database_url)
    database = Database(database_url)
    yield database
    database.dispose()


@pytest.fixture
def submit_job(database: Database) -> Submit:
    """Return a function that submits a job, by default of owner `ann` for model `demo`."""

    def _submit(**changes: object) -> Job:
        fields: dict[str, object] = {"owner": "ann", "model": "demo", "prompt": "a cat", "input": {"seed": 1}}
        return submit(database, NewJob(**{**fields, **changes})).job  # type: ignore[arg-type]

    return _submit


@pytest.fixture
def claim(database: Database) -> Claim:
    """Return a function that claims the next job of `demo` for a worker, which it registers on first use."""
    known: set[str] = set()

    def _claim(worker: str = "w1", lease_seconds: float = 60.0, hint: str | None = None) -> Job | None:
        if worker not in known:
            known.add(worker)
            workers.register(database, workers.Registration(worker, f"{worker}-incarnation", "demo", "cpu", capacity=1))
        return claim_next(database, "demo", Claimant(worker, f"{worker}-incarnation", lease_seconds), hint=hint)

    return _claim
