"""What may be swept and what may be deleted."""

from __future__ import annotations

from core.storage import image_key
from db import retention
from db.database import Database
from db.jobs.finish import finish_error
from db.jobs.read import get_job
from db.jobs.retry import retry
from db.jobs.succeed import StoredImage, finish_succeeded
from tests.integration.db.conftest import Claim, Submit


def test_files_of_a_running_attempt_are_no_orphans(database: Database, submit_job: Submit, claim: Claim) -> None:
    submit_job()
    job = claim()
    assert job is not None
    ours, older = image_key(job.id, job.attempt, 0), image_key(job.id, job.attempt + 1, 0)
    assert retention.unknown_keys(database, [ours, older]) == {older}
    finish_succeeded(database, job.id, 1, [StoredImage(0, ours, 64, 64, 1, "png", 9, "0" * 64, {})], {})
    assert retention.unknown_keys(database, [ours]) == set()


def test_files_of_an_attempt_that_lost_its_job_are_orphans(database: Database, submit_job: Submit, claim: Claim) -> None:
    submit_job()
    job = claim()
    assert job is not None
    finish_error(database, job.id, 1, "engine_lost", "crash")
    key = image_key(job.id, 1, 0)
    assert retention.unknown_keys(database, [key]) == {key}


def test_a_held_job_that_was_retried_is_not_deleted(database: Database, submit_job: Submit, claim: Claim) -> None:
    job_id = submit_job(max_attempts=1).id
    claim()
    finish_error(database, job_id, 1, "engine_lost", "crash")
    retry(database, job_id)
    assert retention.delete_older(database, days=0).jobs == 0
    assert get_job(database, job_id).status == "queued"
