"""A job that failed on one worker goes to another, and a worker that fails different jobs in a row is quarantined."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.lifecycle import JobStatus
from db import workers
from db.database import Database
from db.history import farm_events
from db.jobs import blame, reap
from db.jobs.claim import Claimant, claim_many
from db.jobs.finish import finish_error
from db.jobs.succeed import finish_succeeded
from db.nodes import drain_node, remove_node, resume_node
from db.tables import Job, JobExclusion, Worker
from tests.integration.db.conftest import Claim, Submit

Start = Callable[..., None]


@pytest.fixture(autouse=True)
def separate_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blame, "SAME_FAILURE_SECONDS", 0.0)
    monkeypatch.setattr(blame, "LIVE_SECONDS", 3600.0)


@pytest.fixture
def start(database: Database, claim: Claim) -> Start:
    """Return a function that registers ready workers."""

    def _start(*names: str) -> None:
        for name in names:
            claim(name)
            assert workers.heartbeat(database, name, f"{name}-incarnation", state="ready") is not None

    return _start


def fail(database: Database, job: Job | None, code: str = "render_failed") -> Job:
    assert job is not None
    ended = finish_error(database, job.id, job.attempt, code, "why")
    assert ended is not None
    return ended


def change(database: Database, table: type[Job | Worker | JobExclusion], key: object, **values: object) -> None:
    with database.write() as session:
        row = session.get_one(table, key)
        for name, value in values.items():
            setattr(row, name, value)


def row_of(database: Database, name: str) -> Worker:
    return next(worker for worker in workers.all_workers(database) if worker.name == name)


@pytest.fixture
def fail_jobs(database: Database, submit_job: Submit, claim: Claim) -> Callable[[str, int], None]:
    """Return a function that lets a worker fail that many jobs."""

    def _fail(worker: str, count: int) -> None:
        for _ in range(count):
            submit_job()
            job = claim(worker)
            fail(database, job)

    return _fail


def test_a_job_that_failed_on_one_worker_is_left_to_another(
    database: Database, submit_job: Submit, claim: Claim, start: Start
) -> None:
    start("a", "b")
    submit_job()
    back = fail(database, claim("a"))
    change(database, Job, back.id, available_at=0.0)
    assert claim("a") is None
    again = claim("b")
    assert again is not None and again.attempt == 2
    # It failed on both: any may try again.
    change(database, Job, fail(database, again).id, available_at=0.0)
    assert claim("a") is not None


def test_after_a_while_the_same_worker_may_take_it_again(
    database: Database, submit_job: Submit, claim: Claim, start: Start
) -> None:
    start("a", "b")
    submit_job()
    back = fail(database, claim("a"))
    change(database, Job, back.id, available_at=0.0)
    change(database, JobExclusion, (back.id, "a"), created_at=1.0)
    assert reap.hold_unrunnable(database) == []
    assert claim("a") is not None


def test_the_only_worker_tries_again_and_is_not_quarantined(
    database: Database, claim: Claim, start: Start, fail_jobs: Callable[[str, int], None], submit_job: Submit
) -> None:
    start("a")
    submit_job()
    back = fail(database, claim("a"))
    change(database, Job, back.id, available_at=0.0)
    assert claim("a") is not None
    fail_jobs("a", 3)
    assert row_of(database, "a").quarantined_until is None


def test_three_different_jobs_quarantine_a_worker_until_one_succeeds(
    database: Database, claim: Claim, start: Start, fail_jobs: Callable[[str, int], None], submit_job: Submit
) -> None:
    start("a", "b")
    fail_jobs("a", 2)
    assert row_of(database, "a").quarantined_until is None
    fail_jobs("a", 1)
    row = row_of(database, "a")
    assert row.quarantined_until is not None
    assert row.quarantine_reason == "3 different jobs in a row failed here (render_failed)."
    [event] = [each for each in farm_events(database, 60, ["a", "b"], None) if each.kind == "worker_quarantined"]
    assert (event.worker, event.message) == ("a", row.quarantine_reason)
    assert event.at == pytest.approx(row.quarantined_until - 60)
    new = submit_job(priority=9)
    assert claim("a") is None, "it claims nothing in quarantine"

    # The time is over: it may try one job.
    change(database, Worker, "a", quarantined_until=1.0)
    submit_job(priority=9)
    probes = claim_many(database, "demo", Claimant("a", "a-incarnation", 60.0), 4, [])
    assert [probe.id for probe in probes] == [new.id], "it gets one job at a time"
    assert claim("a") is None
    fail(database, probes[0])
    assert (row_of(database, "a").quarantines, claim("a")) == (2, None)

    change(database, Worker, "a", quarantined_until=1.0)
    probe = claim("a")
    assert probe is not None
    assert finish_succeeded(database, probe.id, probe.attempt, [], {}) is not None
    row = row_of(database, "a")
    assert (row.quarantined_until, row.quarantines, row.failures) == (None, None, None)


def test_a_success_and_one_failure_of_many_jobs_count_once(
    database: Database,
    claim: Claim,
    start: Start,
    fail_jobs: Callable[[str, int], None],
    submit_job: Submit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start("a", "b")
    fail_jobs("a", 2)
    submit_job()
    job = claim("a")
    assert job is not None
    finish_succeeded(database, job.id, job.attempt, [], {})
    fail_jobs("a", 2)
    assert row_of(database, "a").quarantined_until is None
    monkeypatch.setattr(blame, "SAME_FAILURE_SECONDS", 3600.0)
    for _ in range(4):
        submit_job()
        fail(database, claim("a"), "engine_lost")
    assert row_of(database, "a").quarantined_until is None


def test_an_operator_ends_a_quarantine(
    database: Database, claim: Claim, start: Start, fail_jobs: Callable[[str, int], None], submit_job: Submit
) -> None:
    start("a", "b")
    fail_jobs("a", 3)
    assert workers.set_paused(database, "a", paused=False).quarantined_until is None
    fail_jobs("a", 2)
    assert row_of(database, "a").quarantined_until is None


def test_a_machine_is_drained_resumed_and_removed(database: Database, claim: Claim, submit_job: Submit) -> None:
    for name in ("box-cuda0", "box-cuda1"):
        registration = workers.Registration(name, "i", "demo", "cuda", 1, host="box", version="1")
        workers.register(database, registration)
        workers.heartbeat(database, name, "i", state="ready")
    submit_job()
    claimant = Claimant("box-cuda0", "i", 60.0)
    assert {worker.name for worker in drain_node(database, "box")} == {"box-cuda0", "box-cuda1"}
    assert claim_many(database, "demo", claimant, 1, []) == []
    workers.register(database, workers.Registration("box-cuda0", "i", "demo", "cuda", 1, host="box"))
    assert claim_many(database, "demo", claimant, 1, []) == [], "it stays drained after a restart"
    resume_node(database, "box")
    [job] = claim_many(database, "demo", claimant, 1, [])
    assert job.status == JobStatus.RUNNING
    workers.heartbeat(database, "box-cuda1", "i", state="stopped")
    assert remove_node(database, "box") == (["box-cuda0"], ["box-cuda1"])
    finish_succeeded(database, job.id, job.attempt, [], {})
    workers.heartbeat(database, "box-cuda0", "i", state="stopped")
    assert remove_node(database, "box") == ([], ["box-cuda0"])
    assert workers.all_workers(database) == []
