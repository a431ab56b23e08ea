"""The result of each kind of failure: failed, retried, held or canceled."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from core.errors import Conflict
from core.lifecycle import JobStatus
from db import workers
from db.database import Database
from db.jobs import reap
from db.jobs.cancel import request_cancel
from db.jobs.finish import finish_canceled, finish_error
from db.jobs.read import events_of, get_job, list_jobs, queued_seconds
from db.jobs.retry import retry
from db.tables import Job
from tests.integration.db.conftest import Claim, Submit


def test_queued_seconds_count_only_the_wait_of_the_latest_attempt(
    database: Database, submit_job: Submit, claim: Claim
) -> None:
    job_id = submit_job().id
    assert claim() is not None
    with database.write() as session:  # submitted 500 s ago, claimed after 100 s, rendering since then
        job = session.get_one(Job, job_id)
        submitted_at = job.created_at = job.available_at = job.created_at - 500.0
        job.started_at = submitted_at + 100.0
    assert queued_seconds(get_job(database, job_id), end=submitted_at + 500.0) == pytest.approx(100.0)
    finish_error(database, job_id, 1, "worker_drained", "stopping")
    requeued = get_job(database, job_id)
    assert queued_seconds(requeued, end=requeued.available_at + 7.0) == pytest.approx(7.0)
    again = claim()
    assert again is not None and again.started_at is not None
    waited = again.started_at - again.available_at
    assert queued_seconds(again, end=again.started_at + 7.0) == pytest.approx(waited, abs=0.01)


@pytest.mark.parametrize("code", ["non_finite_latents", "invalid_input"])
def test_errors_that_a_retry_cannot_fix_fail_at_once(
    database: Database, submit_job: Submit, claim: Claim, code: str
) -> None:
    submit_job()
    job = claim()
    assert job is not None
    failed = finish_error(database, job.id, 1, code, "why")
    assert failed is not None and failed.status == JobStatus.FAILED
    assert (failed.error_code, failed.error_message) == (code, "why")


def test_a_retryable_error_waits_for_its_backoff(database: Database, submit_job: Submit, claim: Claim) -> None:
    submit_job()
    job = claim()
    assert job is not None
    back = finish_error(database, job.id, 1, "storage_unavailable", "disk full")
    assert back is not None and back.status == JobStatus.QUEUED
    assert back.available_at > back.created_at + 1.5
    with database.write() as session:  # However long this process is paused.
        session.get_one(Job, back.id).available_at += 3600.0
    assert claim() is None


def test_a_job_that_ran_out_of_memory_goes_to_another_worker_only(
    database: Database, submit_job: Submit, claim: Claim
) -> None:
    workers.register(database, workers.Registration("big", "big-incarnation", "demo", "cuda", capacity=1))
    submit_job()
    job = claim("small")
    assert job is not None
    back = finish_error(database, job.id, 1, "out_of_memory", "needs 9 GB")
    assert back is not None and back.status == JobStatus.QUEUED
    with database.write() as session:
        session.get_one(type(back), back.id).available_at = 0.0
    assert claim("small") is None
    again = claim("big")
    assert again is not None and again.id == job.id and again.attempt == 2


def test_a_job_that_ran_out_of_memory_is_held_when_there_is_no_other_worker(
    database: Database, submit_job: Submit, claim: Claim
) -> None:
    submit_job()
    job = claim("only")
    assert job is not None
    held = finish_error(database, job.id, 1, "out_of_memory", "needs 9 GB")
    assert held is not None and held.status == JobStatus.HELD


def test_a_drain_does_not_count_as_an_attempt(database: Database, submit_job: Submit, claim: Claim) -> None:
    job_id = submit_job(max_attempts=1).id
    for number in (1, 2, 3):
        assert claim() is not None
        back = finish_error(database, job_id, number, "worker_drained", "stopping")
        assert back is not None and back.status == JobStatus.QUEUED
    assert claim() is not None
    lost = finish_error(database, job_id, 4, "worker_lost", "ended")
    assert lost is not None and lost.status == JobStatus.HELD


def test_a_retried_held_job_keeps_its_id(database: Database, submit_job: Submit, claim: Claim) -> None:
    job_id = submit_job(max_attempts=1).id
    claim()
    finish_error(database, job_id, 1, "engine_lost", "crash")
    assert get_job(database, job_id).status == JobStatus.HELD
    again = retry(database, job_id)
    assert (again.id, again.status) == (job_id, JobStatus.QUEUED)
    assert claim() is not None
    assert finish_error(database, job_id, 2, "engine_lost", "crash") is not None
    assert get_job(database, job_id).status == JobStatus.HELD, "a retry allows max_attempts more"


def test_a_retried_failed_job_is_a_new_job(database: Database, submit_job: Submit, claim: Claim) -> None:
    job = submit_job()
    with pytest.raises(Conflict):
        retry(database, job.id)
    claim()
    finish_error(database, job.id, 1, "non_finite_latents", "nan")
    again = retry(database, job.id)
    assert again.id != job.id and again.retried_from == job.id and again.input == job.input


def test_a_queued_job_is_canceled_immediately(database: Database, submit_job: Submit, claim: Claim) -> None:
    job = submit_job()
    assert request_cancel(database, job.id).status == JobStatus.CANCELED
    assert claim() is None
    before = get_job(database, job.id).revision
    assert request_cancel(database, job.id).revision == before, "canceling twice changes nothing"


def test_a_running_job_gets_a_cancel_request(database: Database, submit_job: Submit, claim: Claim) -> None:
    job = submit_job()
    claim()
    asked = request_cancel(database, job.id)
    assert asked.status == JobStatus.RUNNING and asked.cancel_requested_at is not None
    done = finish_canceled(database, job.id, 1)
    assert done is not None and done.status == JobStatus.CANCELED
    assert [event.code for event in events_of(database, job.id)][-2:] == ["cancel_requested", "cancel_requested"]


def test_a_job_with_a_cancel_request_is_not_requeued_when_its_worker_is_lost(
    database: Database, submit_job: Submit, claim: Claim
) -> None:
    job = submit_job()
    claim()
    request_cancel(database, job.id)
    ended = finish_error(database, job.id, 1, "worker_lost", "ended")
    assert ended is not None and ended.status == JobStatus.CANCELED


def test_an_unavailable_engine_does_not_count_as_an_attempt(database: Database, submit_job: Submit, claim: Claim) -> None:
    submit_job(max_attempts=1)
    job = claim()
    assert job is not None
    back = finish_error(database, job.id, 1, "engine_away", "starting")
    assert back is not None and (back.status, back.attempts_free) == (JobStatus.QUEUED, 1)


def test_concurrent_retries_of_a_held_job_create_no_second_job(database: Database, submit_job: Submit, claim: Claim) -> None:
    job_id = submit_job(max_attempts=1).id
    claim()
    finish_error(database, job_id, 1, "engine_lost", "crash")

    def try_again(_: int) -> str:
        try:
            return retry(database, job_id).id
        except Conflict:
            return "conflict"

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(try_again, range(6)))
    assert sorted(answers) == sorted([job_id, *["conflict"] * 5])
    assert len(list_jobs(database)) == 1


def test_a_job_that_no_worker_can_run_is_held(
    database: Database, submit_job: Submit, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers.register(database, workers.Registration("big", "big-incarnation", "demo", "cuda", capacity=1))
    submit_job()
    job = claim("small")
    assert job is not None
    finish_error(database, job.id, 1, "out_of_memory", "needs 9 GB")
    assert reap.hold_unrunnable(database) == [], "the worker `big` may still claim it"
    monkeypatch.setattr(reap, "UNRUNNABLE_SECONDS", -1.0)
    assert [held.error_code for held in reap.hold_unrunnable(database)] == ["no_capable_worker"]
