"""Plans of the queries that clients repeat: each reads an index that is made for it and no table as a whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event

from benchmarks.farm_rows import ANONYMOUS, FarmRows
from core.lifecycle import SETTLED, JobStatus
from db import search
from db.database import Database
from db.exports import ExportChoice, export_pages
from db.jobs.read import list_jobs
from db.statistics import count_open, oldest_queued, open_counts, recent_seconds
from db.usage import usage
from db.webhook_deliveries import list_deliveries
from tests.conftest import Migrate

JOBS = 3000


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


def indexes_in(plan: str) -> set[str]:
    return set(re.findall(r"\bix_\w+", plan))


def reads_a_whole_table(plan: str) -> bool:
    return re.search(r"Seq Scan on (jobs|images|usage_days|webhook_deliveries)|SCAN \w+(?! USING)", plan) is not None


@pytest.mark.parametrize("status", list(JobStatus))
@pytest.mark.parametrize("owner", [None, ANONYMOUS])
def test_the_list_of_a_status_reads_its_index(database: Database, status: JobStatus, owner: str | None) -> None:
    (plan,) = plans_of(database, lambda: list_jobs(database, statuses=[status], owner=owner))
    assert indexes_in(plan) == {f"ix_jobs_{status}_owner" if owner else f"ix_jobs_{status}"}, plan
    assert "Sort" not in plan, plan
    assert "B-TREE" not in plan, plan


def test_the_list_of_several_statuses_reads_the_index_of_each(database: Database) -> None:
    plans = plans_of(database, lambda: list_jobs(database, statuses=sorted(SETTLED)))
    assert [indexes_in(plan) for plan in plans[:-1]] == [{f"ix_jobs_{status}"} for status in sorted(SETTLED)]
    assert not any(map(reads_a_whole_table, plans)), plans


@pytest.mark.parametrize(
    ("call", "indexes"),
    [
        (open_counts, ({"ix_jobs_next"}, {"ix_jobs_lease", "ix_jobs_running"}, {"ix_jobs_held"})),
        (oldest_queued, ({"ix_jobs_next"},)),
        (recent_seconds, ({"ix_jobs_succeeded"},)),
        (lambda database: count_open(database, ANONYMOUS, "a1111"), ({"queued"}, {"running"})),
        (lambda database: usage(database, 30), ({"ix_usage_days_day"},)),
        (lambda database: usage(database, 30, ANONYMOUS), (set(),)),
        (lambda database: search.search_jobs(database, "xylophone", owner=ANONYMOUS), ({"ix_jobs_owner_id"},) * 2),
        (lambda database: list(export_pages(database, ExportChoice(text="xylophone"))), ({"ix_jobs_succeeded"},) * 2),
        (lambda database: list_deliveries(database, None, status="failed"), ({"ix_webhook_deliveries_failed"},)),
        (lambda database: list_deliveries(database, "ann", status="pending"), ({"ix_webhook_deliveries_pending_owner"},)),
    ],
)
def test_what_is_polled_reads_no_whole_table(
    database: Database, call: Callable[[Database], object], indexes: tuple[set[str], ...]
) -> None:
    plans = plans_of(database, lambda: call(database))
    assert not any(map(reads_a_whole_table, plans)), plans
