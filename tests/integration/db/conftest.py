"""A migrated database on each engine, and short ways to put jobs into it."""

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
    """All tables, no rows; once on SQLite, once on Postgres."""
    migrate(database_url)
    database = Database(database_url)
    yield database
    database.dispose()


@pytest.fixture
def submit_job(database: Database) -> Submit:
    """Submits a job of owner `ann` for model `demo` unless told otherwise."""

    def _submit(**changes: object) -> Job:
        fields: dict[str, object] = {"owner": "ann", "model": "demo", "prompt": "a cat", "input": {"seed": 1}}
        return submit(database, NewJob(**{**fields, **changes})).job  # type: ignore[arg-type]

    return _submit


@pytest.fixture
def claim(database: Database) -> Claim:
    """Claims the next job of `demo` for a worker that is registered on first use."""
    known: set[str] = set()

    def _claim(worker: str = "w1", lease_seconds: float = 60.0, hint: str | None = None) -> Job | None:
        if worker not in known:
            known.add(worker)
            workers.register(database, workers.Registration(worker, f"{worker}-life", "demo", "cpu", capacity=1))
        return claim_next(database, "demo", Claimant(worker, f"{worker}-life", lease_seconds), hint=hint)

    return _claim
