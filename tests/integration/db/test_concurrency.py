"""Claims and successes of many jobs in one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text, update

from core.lifecycle import JobStatus
from db import workers
from db.database import Database
from db.hints import clear_all_hints
from db.jobs.cancel import request_cancel, request_cancels
from db.jobs.claim import Claimant, claim_and_look, claim_many, renew_leases
from db.jobs.read import attempts_of, events_of, get_job, images_of
from db.jobs.succeed import HINT_SECONDS, Success, finish_all_succeeded, finish_and_look
from db.retention import delete_job
from db.sql import now
from db.tables import Job
from tests.integration.db.conftest import Submit
from tests.integration.db.test_claims import image

CLAIMANT = Claimant("w1", "w1-incarnation", 60.0)


def register(database: Database) -> None:
    workers.register(database, workers.Registration("w1", "w1-incarnation", "demo", "cpu", capacity=8))


def test_the_best_jobs_are_claimed_in_order_each_with_an_attempt(database: Database, submit_job: Submit) -> None:
    register(database)
    jobs = [submit_job(), submit_job(priority=9), submit_job(owner="bob"), submit_job(model="other")]
    claimed = claim_many(database, "demo", CLAIMANT, 8, [])
    assert [job.id for job in claimed] == [jobs[1].id, jobs[0].id, jobs[2].id]
    assert all(job.status == JobStatus.RUNNING and job.attempt == 1 and job.worker == "w1" for job in claimed)
    assert all((job.lease_until or 0) > (job.started_at or 0) + 50 for job in claimed)
    assert [attempt.incarnation for attempt in attempts_of(database, claimed[0].id)] == ["w1-incarnation"]
    assert [event.to_status for event in events_of(database, claimed[2].id)] == ["queued", "running"]


def test_no_more_than_the_limit_are_claimed(database: Database, submit_job: Submit) -> None:
    register(database)
    for _ in range(5):
        submit_job()
    assert [len(claim_many(database, "demo", CLAIMANT, 2, [])) for _ in range(4)] == [2, 2, 1, 0]


def test_hints_of_jobs_that_are_not_claimed_are_cleared_or_kept(database: Database, submit_job: Submit) -> None:
    """Two tokens for two jobs of low priority claim two better jobs, of which only one had a token."""
    register(database)
    low = [submit_job(window=9, priority=1) for _ in range(2)]
    hinted, unhinted = submit_job(window=9, priority=8), submit_job(window=0, priority=8)
    claimed = claim_many(database, "demo", CLAIMANT, 2, [job.id for job in low])
    assert {job.id for job in claimed} == {hinted.id, unhinted.id}
    left = [get_job(database, job.id).hinted_at is not None for job in low]
    assert sorted(left) == [False, True], "one keeps the token that is still in the broker, the other needs a new one"


def test_a_paused_or_replaced_worker_claims_nothing(database: Database, submit_job: Submit) -> None:
    register(database)
    submit_job()
    workers.set_paused(database, "w1", paused=True)
    assert claim_many(database, "demo", CLAIMANT, 1, []) == []
    workers.set_paused(database, "w1", paused=False)
    assert claim_many(database, "demo", Claimant("w1", "an-older-incarnation", 60.0), 1, []) == []
    assert len(claim_many(database, "demo", CLAIMANT, 1, [])) == 1


def test_only_the_lost_attempt_among_finished_ones_is_refused(database: Database, submit_job: Submit) -> None:
    register(database)
    for _ in range(3):
        submit_job()
    jobs = claim_many(database, "demo", CLAIMANT, 3, [])
    successes = [Success(job.id, job.attempt, [image(job), image(job, 1)], {"rendering_seconds": 2.0}) for job in jobs]
    successes[1] = Success(jobs[1].id, 7, successes[1].images, {})
    ended = finish_all_succeeded(database, successes)
    assert [job is not None for job in ended] == [True, False, True]
    assert ended[0] is not None and ended[0].timings == {"rendering_seconds": 2.0} and ended[0].completed_at is not None
    assert get_job(database, jobs[0].id).timings == {"rendering_seconds": 2.0}
    assert get_job(database, jobs[1].id).status == JobStatus.RUNNING
    assert [len(images_of(database, [job.id])) for job in jobs] == [2, 0, 2]
    assert [row.outcome for job in jobs for row in attempts_of(database, job.id)] == ["succeeded", None, "succeeded"]
    repeated = finish_all_succeeded(database, successes)
    assert [job is not None for job in repeated] == [True, False, True], "a repeat returns the result of the first call"
    assert len(images_of(database, [jobs[0].id])) == 2


def test_leases_are_renewed_while_others_finish_without_a_deadlock(database: Database, submit_job: Submit) -> None:
    register(database)
    for _ in range(60):
        submit_job()
    jobs = claim_many(database, "demo", CLAIMANT, 60, [])
    keys = [(job.id, job.attempt) for job in jobs]

    def renew(_: int) -> int:
        return len(renew_leases(database, "w1", keys[::-1], 60.0).held)

    def finish(start: int) -> int:
        group = jobs[start::6]
        return len([job for job in finish_all_succeeded(database, [Success(j.id, 1, [], {}) for j in group]) if job])

    with ThreadPoolExecutor(8) as pool:
        renewed = pool.map(renew, range(20))
        finished = list(pool.map(finish, range(6)))
        assert all(0 <= held <= 60 for held in renewed)
    assert finished == [10] * 6


def take_unclaimed_hints(database: Database, jobs: list[Job]) -> None:
    claim_many(database, "other", Claimant("w2", "w2-incarnation", 60.0), 1, [job.id for job in reversed(jobs)])


def clear_marks(database: Database, jobs: list[Job]) -> None:
    clear_all_hints(database)


@pytest.mark.parametrize("others", [take_unclaimed_hints, clear_marks])
def test_many_jobs_are_canceled_while_others_change_them_without_a_deadlock(
    database: Database, submit_job: Submit, others: Callable[[Database, list[Job]], None]
) -> None:
    """Both wait for a job in the middle, and meet there from two sides if they lock in different orders."""
    workers.register(database, workers.Registration("w2", "w2-incarnation", "other", "cpu", capacity=8))
    jobs = [submit_job(owner=f"owner-{8 - number}", window=9) for number in range(9)]  # read by owner
    with ThreadPoolExecutor(2) as pool:
        with database.write() as session:
            session.execute(select(Job.id).where(Job.id == jobs[4].id).with_for_update())
            change = pool.submit(others, database, jobs)
            time.sleep(0.3)
            canceled = pool.submit(request_cancels, database, [job.id for job in jobs])
            time.sleep(0.3)
        change.result(20)
        assert {job.status for job in canceled.result(20)} == {JobStatus.CANCELED}


def test_a_success_tells_whether_jobs_of_its_model_wait(database: Database, submit_job: Submit) -> None:
    register(database)
    for _ in range(2):
        submit_job()
    submit_job(model="other")
    first, second = claim_many(database, "demo", CLAIMANT, 2, [])
    waiting = submit_job()
    assert finish_and_look(database, [Success(first.id, 1, [], {})])[1]
    delete_job(database, request_cancel(database, waiting.id).id)
    (ended,), more_wait = finish_and_look(database, [Success(second.id, 1, [], {})])
    assert ended is not None and ended.status == JobStatus.SUCCEEDED
    assert not more_wait, "the job that waits is of another model"
    assert finish_and_look(database, [Success(second.id, 2, [], {})]) == ([None], True), "nobody looked"


def test_a_success_leaves_a_job_whose_hint_is_on_its_way_to_the_worker_that_gets_it(
    database: Database, submit_job: Submit
) -> None:
    register(database)
    for _ in range(2):
        submit_job()
    first, second = claim_many(database, "demo", CLAIMANT, 2, [])
    hinted = submit_job(window=9)
    send_hint(database, hinted.id, seconds_ago=-3600.0)
    assert not finish_and_look(database, [Success(first.id, 1, [], {})])[1], "its hint is on its way"
    send_hint(database, hinted.id, seconds_ago=2 * HINT_SECONDS)
    assert finish_and_look(database, [Success(second.id, 1, [], {})])[1], "no worker was free for it"


def send_hint(database: Database, job_id: str, *, seconds_ago: float) -> None:
    """Mark the job as if its hint had been sent then; a time ahead stays recent however slow the test is."""
    with database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(hinted_at=now() - seconds_ago))


def test_a_claim_tells_whether_others_need_a_hint(database: Database, submit_job: Submit) -> None:
    register(database)
    assert claim_and_look(database, "demo", CLAIMANT, 1, []) == ([], False)
    jobs = [submit_job(window=9), submit_job(window=9), submit_job(window=0), submit_job(model="other", window=0)]
    looks = [claim_and_look(database, "demo", CLAIMANT, 1, [job.id]) for job in jobs[:3]]
    assert [job.id for claimed, _ in looks for job in claimed] == [job.id for job in jobs[:3]]
    assert [look for _, look in looks[:2]] == [True, True], "the third has no hint"
    hinted = submit_job(window=9)
    assert claim_and_look(database, "demo", CLAIMANT, 1, [hinted.id])[1] is False, "the fourth is of another model"


def test_only_claims_may_be_undone_by_a_power_cut(database: Database) -> None:
    """Read how SQLite commits; Postgres always waits for its log."""
    if not database.is_sqlite:
        return
    full, normal = 2, 1
    with database.write() as session:
        assert session.scalar(text("PRAGMA synchronous")) == full
    with database.write(durable=False) as session:
        assert session.scalar(text("PRAGMA synchronous")) == normal
        assert session.scalar(text("PRAGMA foreign_keys")) == 1
