"""Plans of the queries that clients repeat: each reads an index that is made for it and no table as a whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event, text

from benchmarks.farm_rows import ANONYMOUS, FarmRows
from core.lifecycle import SETTLED, JobStatus
from db import search, workers
from db.database import Database
from db.exports import ExportChoice, export_pages
from db.gallery import GalleryChoice, count_gallery, read_gallery
from db.history import exclusions, failed_attempts, open_by_owner
from db.jobs.claim import Claimant, claim_many
from db.jobs.read import list_jobs
from db.jobs.submit import NewJob, submit
from db.jobs.succeed import Success, finish_all_succeeded
from db.search import search_jobs
from db.statistics import count_open, oldest_queued, open_counts, recent_means, waiting_work
from db.usage import usage
from db.webhook_deliveries import list_deliveries
from tests.conftest import Migrate
from tests.integration.db.test_claims import image
from tests.servers.postgres import PostgresServer

JOBS = 3000
_RATED = "ix_images(_owner)?_rated"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, migrate: Migrate
) -> Iterator[Database]:
    """Yield a database with the rows of a farm."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('plans') / 'farm.db'}"
    else:
        url = request.getfixturevalue("postgres_server").create_database()
    migrate(url)
    database = Database(url)
    FarmRows(JOBS).fill(database)
    yield database
    database.dispose()
    if request.param == "postgres":
        request.getfixturevalue("postgres_server").drop_database(url)


def plans_of(database: Database, call: Callable[[], object]) -> list[str]:
    """Return the plan of each query of a call, in order."""
    queries: list[tuple[str, Any]] = []

    def remember(_c: object, _cursor: object, statement: str, parameters: object, _context: object, _many: object) -> None:
        queries.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", remember)
    try:
        call()
    finally:
        event.remove(database.engine, "before_cursor_execute", remember)
    selects = [query for query in queries if query[0].startswith("SELECT")]
    explain = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
    with database.engine.connect() as connection:
        return [
            "\n".join(str(row[-1]) for row in connection.exec_driver_sql(explain + statement, parameters))
            for statement, parameters in selects
        ]


def reads_a_whole_table(plan: str) -> bool:
    tables = "jobs|images|usage_days|webhook_deliveries|attempts"
    return re.search(rf"Seq Scan on ({tables})|SCAN ({tables})$", plan, re.MULTILINE) is not None


@pytest.mark.parametrize("owner", [None, ANONYMOUS])
def test_the_list_of_each_status_reads_an_index_of_that_status(database: Database, owner: str | None) -> None:
    for status in JobStatus:
        (plan,) = plans_of(database, lambda status=status: list_jobs(database, statuses=[status], owner=owner))  # type: ignore[misc]
        by_owner = owner is not None and database.is_sqlite  # Postgres chooses by its statistics
        assert re.findall(r"\bix_\w+", plan) == [f"ix_jobs_{status}_owner" if by_owner else f"ix_jobs_{status}"], plan
        assert not re.search("Sort|B-TREE", plan), plan


def test_the_list_of_several_statuses_reads_the_index_of_each(database: Database) -> None:
    *plans, rows = plans_of(database, lambda: list_jobs(database, statuses=sorted(SETTLED)))
    assert [re.findall(r"\bix_\w+", plan) for plan in plans] == [[f"ix_jobs_{status}"] for status in sorted(SETTLED)]
    assert not reads_a_whole_table(rows), rows


@pytest.mark.parametrize(
    ("call", "index"),
    [
        (open_counts, "ix_jobs_(next|owner_queued|queued|lease|worker_running|running|held)"),
        (
            lambda database: open_by_owner(database, None),
            "ix_jobs_(next|owner_queued|queued|lease|worker_running|running|held)",
        ),
        (oldest_queued, "ix_jobs_(next|queued)"),
        (recent_means, "ix_jobs_succeeded"),
        (lambda database: waiting_work(database, ["demo"]), "ix_jobs_next"),
        (
            lambda database: count_open(database, ANONYMOUS, "a1111"),
            "ix_jobs_(queued|running|worker_running|lease)(_owner)?",
        ),
        (lambda database: usage(database, 30), "pk_usage_days|sqlite_autoindex_usage_days_1"),
        (lambda database: usage(database, 30, ANONYMOUS), "ix_usage_days_owner_day"),
        (lambda database: search_jobs(database, "xylophone"), "pk_jobs|sqlite_autoindex_jobs_1"),
        (lambda database: search_jobs(database, "xylophone", owner=ANONYMOUS), "ix_jobs_owner_id|pk_jobs"),
        (
            lambda database: search_jobs(database, "", model="none", statuses=[JobStatus.FAILED]),
            "ix_jobs_failed|pk_jobs|sqlite_autoindex_jobs_1",
        ),
        (lambda database: list(export_pages(database, ExportChoice(text="xylophone"))), "ix_jobs_succeeded|pk_jobs"),
        (lambda database: count_gallery(database, GalleryChoice(min_rating=4)), _RATED),
        (lambda database: count_gallery(database, GalleryChoice(owner=ANONYMOUS, min_rating=4)), _RATED),
        (
            lambda database: read_gallery(database, GalleryChoice(min_rating=4), 0, 9),
            f"{_RATED}|pk_jobs|pk_images|sqlite_autoindex_(jobs|images)_1",
        ),
        (lambda database: failed_attempts(database, 1e6, None), "ix_attempts_failed|pk_jobs|sqlite_autoindex_jobs_1"),
        (lambda database: exclusions(database, 1e6, None), "ix_job_exclusions_created_at|pk_jobs|sqlite_autoindex_jobs_1"),
        (lambda database: list_deliveries(database, None, status="failed"), "ix_webhook_deliveries_failed"),
        (lambda database: list_deliveries(database, "ann", status="pending"), "ix_webhook_deliveries_pending(_owner)?"),
    ],
)
def test_what_is_polled_reads_indexes_and_no_whole_table(
    database: Database, call: Callable[[Database], object], index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SCANNED_JOBS", 100)
    for plan in plans_of(database, lambda: call(database)):
        used = re.findall(r"\b(?:ix|pk|sqlite_autoindex)_\w+", plan)
        assert used, plan
        assert all(re.fullmatch(index, name) for name in used), plan
        assert not reads_a_whole_table(plan), plan


def test_images_of_a_time_are_found_without_the_newer_ones(database: Database) -> None:
    for choice in (GalleryChoice(until=1e9), GalleryChoice(since=1e9, until=2e9), GalleryChoice(owner=ANONYMOUS, until=1e9)):
        plan, *_ = plans_of(database, lambda choice=choice: read_gallery(database, choice, 0, 9))  # type: ignore[misc]
        by_id = r"SEARCH images USING (COVERING )?INDEX \S+ \((owner=\? AND )?id[<>]"
        by_time = r"Index Cond: .*\b(id|created_at)\b"
        assert re.search(by_id if database.is_sqlite else by_time, plan), plan


def test_a_worker_of_a_new_farm_reads_no_table_as_a_whole(postgres_server: PostgresServer, migrate: Migrate) -> None:
    """Its plans are made while the tables are nearly empty, and kept until statistics are gathered."""
    url = postgres_server.create_database()
    migrate(url)
    database = Database(url, pool_size=1, few_plans=True)
    workers.register(database, workers.Registration("w1", "w1-incarnation", "demo", "cpu", capacity=8))
    for count in (1, 2, 4, 8, 8, 8):
        for number in range(count):
            submit(database, NewJob(owner=f"owner{number}", model="demo", prompt="a cat", input={"seed": 1}))
        claimed = claim_many(database, "demo", Claimant("w1", "w1-incarnation", 60.0), count, [])
        finish_all_succeeded(database, [Success(job.id, job.attempt, [image(job)], {}) for job in claimed])
    with database.read() as session:
        session.execute(text("SELECT pg_stat_force_next_flush()"))
        session.execute(text("SELECT 1"))
        rows = session.execute(text("SELECT relname, seq_scan FROM pg_stat_user_tables")).all()
        scans: dict[str, int] = {row.relname: row.seq_scan for row in rows}
    assert {name: scans[name] for name in ("jobs", "attempts", "images", "job_events")} == dict.fromkeys(
        ("jobs", "attempts", "images", "job_events"), 0
    )
    database.dispose()
    postgres_server.drop_database(url)


def test_a_worker_has_no_statement_compiled(fresh_postgres: str) -> None:
    """Before Postgres 18, one that must read a whole table although it should not seems costly enough for that."""
    database = Database(fresh_postgres, pool_size=1, few_plans=True)
    with database.read() as session:
        assert session.scalar(text("SHOW jit")) == "off"
    database.dispose()
