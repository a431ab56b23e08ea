"""A copy made while others write, and what a restored database is made ready for."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import select

from db import migrate
from db.backup import copy_database, is_empty, release_running
from db.database import Database
from db.jobs.cancel import request_cancel
from db.jobs.read import get_job
from db.schema_revision import is_known_revision
from db.tables import Attempt
from db.workers import all_workers, live_workers
from tests.integration.db.conftest import Claim, Submit


def test_running_jobs_are_queued_again_and_keep_their_attempts(
    database: Database, database_url: str, submit_job: Submit, claim: Claim
) -> None:
    job_id = submit_job(max_attempts=1).id
    claim()
    assert live_workers(database)
    release_running(database_url)
    assert not live_workers(database)
    assert [worker.state for worker in all_workers(database)] == ["stopped"]
    assert get_job(database, job_id).status == "queued"
    with database.read() as session:
        assert session.scalars(select(Attempt.outcome)).all() == ["returned"]
    again = claim()
    assert again is not None and (again.id, again.attempt) == (job_id, 2)


def test_a_running_job_that_was_to_be_canceled_is_canceled(
    database: Database, database_url: str, submit_job: Submit, claim: Claim
) -> None:
    job_id = submit_job().id
    claim()
    request_cancel(database, job_id)
    release_running(database_url)
    assert get_job(database, job_id).status == "canceled"


def test_a_database_with_tables_is_not_empty(database: Database) -> None:
    assert not is_empty(database)


def test_a_database_without_tables_is_empty(database_url: str) -> None:
    database = Database(database_url)
    assert is_empty(database)
    database.dispose()


def test_only_revisions_of_this_code_are_known() -> None:
    assert is_known_revision("0001")
    assert not is_known_revision("0099")


def test_commits_during_the_copy_neither_reach_it_nor_start_it_over(tmp_path: Path, fresh_sqlite: str) -> None:
    migrate.upgrade(fresh_sqlite)
    database = Database(fresh_sqlite)
    seen = [0]
    with closing(sqlite3.connect(tmp_path / "test.db", isolation_level=None)) as writer:
        writer.execute("CREATE TABLE ballast AS SELECT 0 AS number, zeroblob(40000000) AS bytes")
        writer.execute("CREATE TABLE counter AS SELECT 0 AS number")

        def commit(done: int, total: int) -> None:
            assert done > seen[-1], "it started over"
            seen.append(done)
            writer.execute("UPDATE counter SET number = number + 1")

        copy_database(database, tmp_path / "copy", commit)
        assert writer.execute("SELECT number FROM counter").fetchone()[0] > 2
    database.dispose()
    with closing(sqlite3.connect(tmp_path / "copy")) as copy:
        assert copy.execute("SELECT number FROM counter").fetchone() == (0,)
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
