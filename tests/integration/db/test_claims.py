"""Claims, fencing and leases under concurrency."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from core.ids import new_id
from core.lifecycle import JobStatus
from db import workers
from db.database import Database
from db.jobs.cancel import request_cancels
from db.jobs.claim import Claimant, claim_next, renew_leases
from db.jobs.finish import finish_error
from db.jobs.read import attempts_of, events_of, get_job, images_of
from db.jobs.reap import expire_late, requeue_expired_leases
from db.jobs.succeed import StoredImage, finish_succeeded
from db.tables import Job
from tests.integration.db.conftest import Claim, Submit


def image(job: Job, index: int = 0) -> StoredImage:
    key = f"{job.id}.{job.attempt}.{index}.png"
    return StoredImage(index, key, 64, 64, 1, "png", 10, "0" * 64, {})


def test_each_job_is_claimed_by_exactly_one_of_many(database: Database, submit_job: Submit) -> None:
    jobs = {submit_job().id for _ in range(40)}

    def take_all(name: str) -> list[str]:
        claimant = Claimant(name, "incarnation", 60.0)
        taken = []
        while (job := claim_next(database, "demo", claimant)) is not None:
            taken.append(job.id)
        return taken

    with ThreadPoolExecutor(6) as pool:
        taken = [job_id for ids in pool.map(take_all, [f"w{n}" for n in range(6)]) for job_id in ids]
    # SKIP LOCKED may make a claimant see an empty queue while another one locks the last row: claim the rest now.
    taken += take_all("last")
    assert sorted(taken) == sorted(jobs)


def test_a_finish_writes_images_and_ends_the_attempt(database: Database, submit_job: Submit, claim: Claim) -> None:
    submit_job()
    job = claim()
    assert job is not None
    done = finish_succeeded(database, job.id, job.attempt, [image(job), image(job, 1)], {"rendering_seconds": 1.0})
    assert done is not None and done.status == JobStatus.SUCCEEDED and done.completed_at is not None
    assert [stored.index for stored in images_of(database, [job.id])] == [0, 1]
    assert [(attempt.number, attempt.outcome) for attempt in attempts_of(database, job.id)] == [(1, "succeeded")]
    assert [event.to_status for event in events_of(database, job.id)] == ["queued", "running", "succeeded"]


def test_warnings_of_the_render_are_added_to_the_jobs_own(database: Database, submit_job: Submit, claim: Claim) -> None:
    submit_job(warnings=["guidance is off"])
    job = claim()
    assert job is not None
    told = {"warnings": ["guidance is off", "The LoRA 'ink' fits this model in part."]}
    images = [replace(image(job, index), record=told) for index in range(2)]
    done = finish_succeeded(database, job.id, job.attempt, images, {})
    assert done is not None
    assert done.warnings == get_job(database, job.id).warnings == told["warnings"]


def test_a_late_finish_of_a_lost_attempt_is_refused(database: Database, submit_job: Submit, claim: Claim) -> None:
    submit_job()
    lost = claim("w1", lease_seconds=-1.0)
    assert lost is not None
    requeue_expired_leases(database)
    successor = claim("w2")
    assert successor is not None and successor.attempt == 2
    assert finish_succeeded(database, lost.id, lost.attempt, [image(lost)], {}) is None
    assert finish_error(database, lost.id, lost.attempt, "engine_lost", "late") is None
    assert images_of(database, [lost.id]) == []
    assert finish_succeeded(database, successor.id, successor.attempt, [image(successor)], {}) is not None
    assert len(images_of(database, [successor.id])) == 1


def test_many_finishes_of_one_attempt_write_once_and_agree(database: Database, submit_job: Submit, claim: Claim) -> None:
    submit_job()
    job = claim()
    assert job is not None
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: finish_succeeded(database, job.id, 1, [image(job)], {}), range(8)))
    assert {result.status for result in results if result is not None} == {"succeeded"} and None not in results
    assert [event.to_status for event in events_of(database, job.id)].count("succeeded") == 1
    assert len(images_of(database, [job.id])) == 1


def test_a_renewal_returns_lost_attempts_and_cancel_requests(database: Database, submit_job: Submit, claim: Claim) -> None:
    from db.jobs.cancel import request_cancel

    submit_job(), submit_job()
    first, second = claim(), claim()
    assert first is not None and second is not None
    request_cancel(database, second.id)
    asked = [(first.id, 1), (second.id, 1), (first.id, 7)]
    renewal = renew_leases(database, "w1", asked, 60.0)
    assert renewal.held == {(first.id, 1), (second.id, 1)}
    assert renewal.cancel_requested == {(second.id, 1)}
    assert renew_leases(database, "other", asked, 60.0).held == frozenset()


def test_many_jobs_are_canceled_in_one_transaction(database: Database, submit_job: Submit, claim: Claim) -> None:
    held = submit_job(max_attempts=1)
    assert claim(lease_seconds=-1.0) is not None
    requeue_expired_leases(database)
    ended = submit_job()
    job = claim()
    assert job is not None and finish_succeeded(database, ended.id, 1, [image(job)], {}) is not None
    running = submit_job()
    assert claim() is not None
    mine, others = submit_job(), submit_job(owner="bob")
    wanted = [each.id for each in (held, ended, running, mine, others)] + [new_id()]
    changed = request_cancels(database, wanted, owner="ann")
    assert {each.id: each.status for each in changed} == {held.id: "canceled", running.id: "running", mine.id: "canceled"}
    assert get_job(database, running.id).cancel_requested_at is not None
    assert [get_job(database, each.id).status for each in (ended, others)] == ["succeeded", "queued"]
    events = [events_of(database, each.id)[-1] for each in changed]
    assert [(each.revision, each.status, "cancel_requested") for each in changed] == [
        (event.revision, event.to_status, event.code) for event in events
    ]
    assert request_cancels(database, wanted, owner="ann") == []


def test_the_jobs_of_a_restarted_worker_are_requeued_at_once(database: Database, submit_job: Submit, claim: Claim) -> None:
    submit_job()
    job = claim("w1", lease_seconds=3600)
    assert job is not None
    second = workers.Registration("w1", "second-incarnation", "demo", "cpu", capacity=1)
    back = workers.register(database, second, replaces={"w1-incarnation"})
    assert [(row.id, row.status) for row in back] == [(job.id, "queued")]
    assert claim_next(database, "demo", Claimant("w1", "w1-incarnation", 60)) is None, (
        "the first process must get no more jobs"
    )
    assert claim_next(database, "demo", Claimant("w1", "second-incarnation", 60)) is not None


def test_a_valid_lease_is_not_reaped(database: Database, submit_job: Submit, claim: Claim) -> None:
    submit_job()
    assert claim(lease_seconds=60) is not None
    assert requeue_expired_leases(database) == []


def test_a_job_with_all_attempts_used_is_held_with_its_history(database: Database, submit_job: Submit, claim: Claim) -> None:
    job_id = submit_job(max_attempts=2).id
    for _ in range(2):
        job = claim(lease_seconds=-1.0)
        assert job is not None
        requeue_expired_leases(database)
    held = get_job(database, job_id)
    assert held.status == JobStatus.HELD and held.error_code == "worker_lost"
    assert [attempt.outcome for attempt in attempts_of(database, job_id)] == ["retried", "retried"]
    assert claim() is None


def test_a_job_past_its_deadline_expires(database: Database, submit_job: Submit, claim: Claim) -> None:
    job = submit_job(deadline_seconds=-1.0)
    submit_job(deadline_seconds=3600.0)
    assert claim() is not None, "the job with time left is claimed"
    assert claim() is None, "a job past its deadline never starts"
    assert [row.id for row in expire_late(database)] == [job.id]
    assert get_job(database, job.id).status == JobStatus.EXPIRED


@pytest.mark.parametrize("state", ["paused", "draining"])
def test_a_paused_or_draining_worker_claims_nothing(
    database: Database, submit_job: Submit, claim: Claim, state: str
) -> None:
    assert claim() is None
    submit_job()
    if state == "paused":
        workers.set_paused(database, "w1", paused=True)
    else:
        workers.request_drain(database, "w1")
    assert claim() is None
    if state == "paused":
        workers.set_paused(database, "w1", paused=False)
        assert claim() is not None
