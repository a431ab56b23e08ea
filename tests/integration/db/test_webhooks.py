"""Messages are written for every settled job: late commits, reused ids, long histories, restarts."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from core.lifecycle import JobStatus
from db import webhooks
from db.database import Database
from db.jobs.cancel import request_cancel
from db.jobs.transition import transition
from db.retention import delete_job
from db.tables import Job, JobEvent, WebhookCursor, WebhookDelivery
from db.webhooks import Collector, Target
from tests.integration.db.conftest import Submit

FARM = Target("settings", "https://example.com/", "whsec_x")


def collector_of(database: Database) -> Collector:
    return Collector(database, FARM, "")


def jobs_with_messages(database: Database) -> set[str]:
    with database.read() as session:
        return set(session.scalars(select(WebhookDelivery.job_id)))


@pytest.fixture
def settle(database: Database, submit_job: Submit) -> Submit:
    """Submit and cancel a job, and return it."""

    def _settle(**changes: object) -> Job:
        return request_cancel(database, submit_job(**changes).id)

    return _settle


class TestLateCommits:
    @pytest.fixture
    def database_url(self, fresh_postgres: str) -> str:
        """Use Postgres: SQLite has one writer at a time."""
        return fresh_postgres

    @pytest.mark.parametrize("others", [1, 300])
    @pytest.mark.parametrize("restarted", [False, True])
    def test_an_event_whose_transaction_commits_late_gets_a_message(
        self, database: Database, submit_job: Submit, settle: Submit, others: int, restarted: bool
    ) -> None:
        collector = collector_of(database)
        collector.collect()
        slow = submit_job()
        with database.write() as session:
            assert transition(session, slow.id, JobStatus.QUEUED, JobStatus.CANCELED) is not None
            for _ in range(others):
                last = settle()
            while collector.collect():
                pass
            assert last.id in jobs_with_messages(database)
            assert slow.id not in jobs_with_messages(database)
        if restarted:
            collector = collector_of(database)
        assert collector.collect() == 1
        assert slow.id in jobs_with_messages(database)
        collector.collect()
        with database.read() as session:
            assert session.get_one(WebhookCursor, 1).event_id == session.scalar(select(func.max(JobEvent.id)))


def test_events_with_reused_ids_get_messages(database: Database, settle: Submit) -> None:
    collector = collector_of(database)
    settle()
    collector.collect()
    for _ in range(3):
        job = settle()
        assert collector.collect() == 1
        assert jobs_with_messages(database) == {job.id}
        delete_job(database, job.id)


def test_a_long_history_is_read_in_parts(database: Database, settle: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "_SCANNED_EVENTS", 3)
    collector_of(database).collect()
    jobs = {settle().id for _ in range(10)}
    collector = collector_of(database)
    for _ in range(10):
        collector.collect()
    assert jobs_with_messages(database) == jobs
    assert collector.collect() == 0
