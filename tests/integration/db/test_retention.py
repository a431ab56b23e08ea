"""Which files are orphans, and which jobs and counters retention deletes."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select, update

from core.settings import Settings
from core.storage import image_key
from db import quotas, retention
from db.database import Database
from db.jobs.finish import finish_error
from db.jobs.read import get_job
from db.jobs.retry import retry
from db.jobs.succeed import StoredImage, finish_succeeded
from db.sql import now
from db.tables import QuotaCounter
from tests.integration.db.conftest import Claim, Submit
from worker.reaper.retention import RetentionRound


def test_files_of_a_running_attempt_are_not_orphans(database: Database, submit_job: Submit, claim: Claim) -> None:
    submit_job()
    job = claim()
    assert job is not None
    current, other = image_key(job.id, job.attempt, 0), image_key(job.id, job.attempt + 1, 0)
    assert retention.unknown_keys(database, [current, other]) == {other}
    finish_succeeded(database, job.id, 1, [StoredImage(0, current, 64, 64, 1, "png", 9, "0" * 64, {})], {})
    assert retention.unknown_keys(database, [current]) == set()


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


def test_the_reaper_deletes_old_quota_counters(database: Database, database_url: str, tmp_path: Path) -> None:
    assert quotas.reserve(database, "key", "pixels:1", 5, limit=10)
    with database.write() as session:
        session.execute(update(QuotaCounter).values(created_at=now() - quotas.KEPT_SECONDS - 1))
    assert quotas.reserve(database, "key", "pixels:2", 5, limit=10)
    retention_round = RetentionRound(Settings(_env_file=None, data_dir=tmp_path, database_url=database_url))
    retention_round.round()
    retention_round.close()
    with database.read() as session:
        assert session.scalars(select(QuotaCounter.bucket)).all() == ["pixels:2"]
