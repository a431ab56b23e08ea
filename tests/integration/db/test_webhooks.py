"""Messages are written for every settled job: late commits, reused ids, long histories, restarts."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, insert, select, update

from core.errors import Conflict
from core.ids import new_id
from core.lifecycle import JobStatus
from db import webhook_collector, webhooks
from db.database import Database
from db.jobs.cancel import request_cancel
from db.jobs.transition import transition
from db.retention import delete_job
from db.sql import now
from db.tables import Batch, Job, JobEvent, WebhookCursor, WebhookDelivery, WebhookEndpoint
from db.webhook_collector import Collector, Target
from db.webhook_deliveries import Sending, claim_due, redeliver
from db.webhooks import add_endpoint, encrypt_plain_secrets
from tests.integration.db.conftest import Submit

FARM = Target("settings", "https://example.com/")


def collector_of(database: Database) -> Collector:
    return Collector(database, FARM)


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

    @pytest.mark.parametrize("others", [1, 30])
    @pytest.mark.parametrize("restarted", [False, True])
    def test_an_event_whose_transaction_commits_late_gets_a_message(
        self,
        database: Database,
        submit_job: Submit,
        settle: Submit,
        monkeypatch: pytest.MonkeyPatch,
        others: int,
        restarted: bool,
    ) -> None:
        """30 others have more events than are read at once."""
        monkeypatch.setattr(webhook_collector, "_SCANNED_EVENTS", 50)
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


def test_jobs_that_asked_for_a_message_before_the_first_collect_get_it(database: Database, settle: Submit) -> None:
    settle()
    hook = {"webhook": {"url": "https://own.example/"}}
    asked = settle(requested=hook)
    collector = Collector(database, None)
    assert (collector.collect(), collector.collect()) == (1, 0)
    assert jobs_with_messages(database) == {asked.id}


def test_jobs_after_the_first_endpoint_get_messages_before_the_first_collect(database: Database, settle: Submit) -> None:
    settle()
    add_endpoint(database, "ann", "https://example.com/", "s", [])
    after = settle()
    assert Collector(database, None).collect() == 1
    assert jobs_with_messages(database) == {after.id}


def test_a_long_history_is_read_in_parts(database: Database, settle: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_collector, "_SCANNED_EVENTS", 3)
    collector_of(database).collect()
    jobs = {settle().id for _ in range(10)}
    collector = collector_of(database)
    for _ in range(10):
        collector.collect()
    assert jobs_with_messages(database) == jobs
    assert collector.collect() == 0


class TestTurns:
    @pytest.fixture
    def add(self, database: Database, submit_job: Submit) -> Callable[..., list[str]]:
        """Return a function that adds due messages of a lane, oldest first, and returns their ids."""

        def _add(lane: str, count: int, host: str = "") -> list[str]:
            job = submit_job(owner=lane)
            ids = [new_id() for _ in range(count)]
            rows = [
                {
                    **{"id": each, "job_id": job.id, "revision": number, "target": "job", "owner": lane, "lane": lane},
                    **{"url": "https://x/", "host": host or lane, "event": "job.failed", "status": "pending", "tries": 0},
                }
                for number, each in enumerate(ids)
            ]
            with database.write() as session:
                for number, row in enumerate(rows):
                    session.execute(
                        insert(WebhookDelivery).values(**row, next_at=now() - 1000.0 + number * 0.001, created_at=now())
                    )
            return ids

        return _add

    def test_each_owner_gets_its_turn(self, database: Database, add: Callable[..., list[str]]) -> None:
        many = add("ann", 30)
        two, one = add("bob", 2), add("cid", 1)
        claimed = [row.id for row in claim_due(database, Sending(6, per_lane=4, per_host=4))]
        assert claimed == [many[0], two[0], one[0], many[1], two[1], many[2]]

    def test_an_owner_gets_no_more_than_its_share(self, database: Database, add: Callable[..., list[str]]) -> None:
        many = add("ann", 30)
        sending = Sending(20, per_lane=4, per_host=10)
        claimed = claim_due(database, sending)
        assert [row.id for row in claimed] == many[:4]
        one = add("bob", 1)
        assert [row.id for row in claim_due(database, sending)] == one
        assert claim_due(database, sending) == []
        sending.remove(claimed[0])
        assert [row.id for row in claim_due(database, sending)] == many[4:5]

    def test_a_host_gets_no_more_than_its_share(self, database: Database, add: Callable[..., list[str]]) -> None:
        for lane in ("ann", "bob", "cid"):
            add(lane, 4, host="slow.example")
        other = add("bob", 1, host="fast.example")
        sending = Sending(20, per_lane=4, per_host=5)
        claimed = claim_due(database, sending)
        assert sorted(row.host for row in claimed) == ["fast.example", *["slow.example"] * 5]
        assert other[0] in {row.id for row in claimed}

    def test_turns_continue_behind_the_last_one(self, database: Database, add: Callable[..., list[str]]) -> None:
        for lane in ("ann", "bob", "cid"):
            add(lane, 3)
        sending = Sending(1, per_lane=1, per_host=1)
        lanes = []
        for _ in range(5):
            claimed = claim_due(database, sending)
            lanes += [row.lane for row in claimed]
            sending.remove(claimed[0])
        assert lanes == ["ann", "bob", "cid", "ann", "bob"]

    def test_two_senders_do_not_claim_the_same_message(self, database: Database, add: Callable[..., list[str]]) -> None:
        add("ann", 6)
        first, second = (claim_due(database, Sending(20, per_lane=4, per_host=4)) for _ in range(2))
        assert (len(first), len(second)) == (4, 2)
        assert not {row.id for row in first} & {row.id for row in second}


def test_targets_for_all_owners_have_turns_of_their_own(database: Database, submit_job: Submit) -> None:
    for owner in ("ann", None):
        add_endpoint(database, owner, f"https://{owner or 'all'}.example/x", "s", [])
    collector = collector_of(database)
    collector.collect()
    hook = {"webhook": {"url": "https://own.example/"}}
    request_cancel(database, submit_job(requested=hook).id)
    assert collector.collect() == 4
    with database.read() as session:
        rows = session.scalars(select(WebhookDelivery)).all()
    lanes = {row.host: row.lane for row in rows}
    assert lanes["own.example"] == lanes["ann.example"] == "ann"
    assert lanes["example.com"] == "target:settings"
    assert lanes["all.example"].startswith("target:")
    assert len(set(lanes.values())) == 3


def test_an_owner_has_a_limited_number_of_endpoints(database: Database) -> None:
    for number in range(2):
        add_endpoint(database, "ann", f"https://example.com/{number}", "s", [], limit=2)
    with pytest.raises(Conflict, match="limit is 2") as caught:
        add_endpoint(database, "ann", "https://example.com/", "s", [], limit=2)
    assert caught.value.code == "too_many_webhooks"
    add_endpoint(database, "bob", "https://example.com/", "s", [], limit=2)
    add_endpoint(database, None, "https://example.com/", "s", [], limit=2)


def test_the_limit_of_endpoints_holds_for_calls_at_once(database: Database) -> None:
    def add() -> bool:
        try:
            add_endpoint(database, "ann", "https://example.com/", "s", [], limit=3)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        added = [call.result() for call in [threads.submit(add) for _ in range(16)]]
    assert sum(added) == 3


def test_plain_secrets_of_earlier_versions_are_encrypted_once(
    database: Database, submit_job: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "_ROWS", 2)
    collector_of(database).collect()
    add_endpoint(database, "ann", "https://example.com/", "plain", [])
    add_endpoint(database, "ann", "https://example.com/", "enc:x", [])
    request = {"prompt": "a", "webhook": {"url": "https://example.com/", "secret": "plain"}}
    jobs = [submit_job(requested=request).id for _ in range(5)]
    other = submit_job(requested={"prompt": "b", "webhook": {"url": "https://example.com/"}}).id
    with database.write() as session:
        values = {"id": new_id(), "owner": "ann", "total": 0, "requested": request, "created_at": now()}
        session.execute(insert(Batch).values(**values))

    def encrypt(stored: str) -> str:
        return stored if stored.startswith("enc:") else f"enc:{stored}"

    assert encrypt_plain_secrets(database, encrypt) == 7
    expected = {**request, "webhook": {"url": "https://example.com/", "secret": "enc:plain"}}
    with database.read() as session:
        assert sorted(session.scalars(select(WebhookEndpoint.secret))) == ["enc:plain", "enc:x"]
        assert all(session.get_one(Job, job_id).requested == expected for job_id in jobs)
        assert session.get_one(Job, other).requested["webhook"] == {"url": "https://example.com/"}
        assert session.scalars(select(Batch.requested)).all() == [expected]
    with database.write() as session:
        session.execute(update(WebhookEndpoint).values(secret="plain"))
    assert encrypt_plain_secrets(database, encrypt) == 0


def test_a_message_of_a_deleted_endpoint_is_not_sent_again(database: Database, settle: Submit) -> None:
    endpoint = add_endpoint(database, "ann", "https://example.com/", "s", [])
    collector = Collector(database, None)
    collector.collect()
    settle()
    assert collector.collect() == 1
    with database.read() as session:
        delivery = session.scalars(select(WebhookDelivery.id)).one()
    assert redeliver(database, delivery, "ann").status == "pending"
    webhooks.remove_endpoint(database, endpoint.id, "ann")
    with pytest.raises(Conflict) as caught:
        redeliver(database, delivery, "ann")
    assert caught.value.code == "webhook_deleted"


def test_receivers_are_known_after_a_look(database: Database) -> None:
    """Also those that another process has added or that were disabled, while no job settles."""
    collector, farms = Collector(database, None), Collector(database, FARM)
    seen = [collector.has_targets]  # unknown: none may be missed
    collector.is_idle()
    seen.append(collector.has_targets)
    endpoint = add_endpoint(database, "ann", "https://example.com/", "s", [])
    collector.is_idle()
    seen.append(collector.has_targets)
    with database.write() as session:
        session.execute(update(WebhookEndpoint).where(WebhookEndpoint.id == endpoint.id).values(disabled_at=now()))
    for each in (collector, farms):
        each.is_idle()
    assert [*seen, collector.has_targets, farms.has_targets] == [True, False, True, False, True]


def test_idle_is_when_nothing_settled_and_no_message_waits(database: Database, settle: Submit) -> None:
    collector = collector_of(database)
    seen = [collector.is_idle()]  # the cursor is not there yet
    while collector.collect():
        pass
    seen.append(collector.is_idle())
    settle()
    seen.append(collector.is_idle())
    while collector.collect():
        pass
    seen.append(collector.is_idle())  # its message waits
    with database.write() as session:
        session.execute(update(WebhookDelivery).values(status="delivered"))
    assert [*seen, collector.is_idle()] == [False, True, False, False, True]
