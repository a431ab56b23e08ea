"""Usage by day and owner: counted once with the end of a job, and no more after a deletion, on both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from core.storage import image_key
from db import retention
from db.database import Database
from db.jobs.finish import finish_error
from db.jobs.retry import retry
from db.jobs.succeed import StoredImage, finish_succeeded
from db.migrate import upgrade
from db.tables import Image, Job
from db.usage import usage
from tests.integration.db.conftest import Claim, Submit

SUMS = ("owner", "jobs", "images", "pixels")


def finish(database: Database, job: Job | None, images: int = 1) -> Job | None:
    assert job is not None
    stored = [
        StoredImage(index, image_key(job.id, job.attempt, index), 64, 32, 1, "png", 9, "0" * 64, {})
        for index in range(images)
    ]
    return finish_succeeded(database, job.id, job.attempt, stored, {})


def sums_of(database: Database, owner: str | None = None) -> list[tuple[object, ...]]:
    return [tuple(getattr(row, name) for name in SUMS) for row in usage(database, 2, owner)]


def test_usage_counts_each_end_once_and_no_deleted_image_or_job(
    database: Database, submit_job: Submit, claim: Claim
) -> None:
    kept, deleted, other = submit_job(), submit_job(), submit_job(owner="ben")
    submit_job()  # it waits
    for _ in range(3):
        finish(database, claim(), images=2)
    assert sums_of(database) == [("ben", 1, 2, 4096), ("ann", 2, 4, 8192)]
    assert sums_of(database, "ben") == [("ben", 1, 2, 4096)]
    with database.read() as session:
        images = session.scalars(select(Image.id).where(Image.job_id == deleted.id).order_by(Image.index)).all()
        again = session.get_one(Job, kept.id)
    assert finish(database, again, images=2) is not None  # the response to the first commit was lost
    retention.delete_image(database, images[0])
    assert sums_of(database, "ann") == [("ann", 2, 3, 6144)]
    retention.delete_job(database, deleted.id)
    retention.delete_job(database, other.id)
    assert sums_of(database) == [("ann", 1, 2, 4096)]
    assert usage(database, 2)[0].render_seconds == pytest.approx(again.completed_at - again.started_at)  # type: ignore[operator]


def test_attempts_that_failed_count_nothing(database: Database, submit_job: Submit, claim: Claim) -> None:
    job = submit_job(max_attempts=1)
    claim()
    finish_error(database, job.id, 1, "engine_lost", "crash")
    assert sums_of(database) == []
    retry(database, job.id)
    finish(database, claim())
    assert sums_of(database) == [("ann", 1, 1, 2048)]
    assert usage(database, 1) == usage(database, 2)


def test_the_migration_counts_the_jobs_of_earlier_versions(database_url: str) -> None:
    upgrade(database_url, "0010")
    database = Database(database_url)
    numbers = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20010)"
        if database.is_sqlite
        else "WITH n AS (SELECT generate_series(1, 20010) AS i)"
    )
    jobs = f"""
        INSERT INTO jobs (id, owner, model, priority, turn, status, revision, attempt, max_attempts, attempts_free,
                          available_at, created_at, started_at, completed_at, prompt, input, requested, warnings)
        {numbers} SELECT 'job-' || (100000 + i), CASE WHEN i % 2 = 0 THEN 'ann' ELSE 'ben' END, 'demo', 5, 0,
            CASE WHEN i <= 10 THEN 'failed' ELSE 'succeeded' END, 3, 1, 3, 0, 0, :at - 3, :at - 2, :at,
            'x', '{{}}', '{{}}', '[]'
        FROM n"""  # noqa: S608 -- constants
    images = """
        INSERT INTO images (id, job_id, attempt, "index", owner, key, width, height, seed, format, bytes, sha256, record,
                            created_at)
        SELECT id, id, 1, 0, owner, id, 50000, 50000, 1, 'png', 9, 'x', '{}', completed_at FROM jobs
        WHERE status = 'succeeded'"""
    with database.write() as session:
        at = session.scalar(
            text(
                "SELECT (julianday('now') - 2440587.5) * 86400.0"
                if database.is_sqlite
                else "SELECT extract(epoch FROM now())"
            )
        )
        session.execute(text(jobs), {"at": float(at or 0)})
        session.execute(text(images))
    upgrade(database_url)
    found = usage(database, 2)
    assert [(row.owner, row.jobs, row.images, row.pixels) for row in found] == [
        (owner, 10_000, 10_000, 10_000 * 50_000 * 50_000) for owner in ("ben", "ann")
    ]
    assert found[0].render_seconds == pytest.approx(20_000.0)
    database.dispose()
