"""Kinds of jobs: stored, listed, kept by a retry; an upload that is enlarged is kept as long as the job."""

from __future__ import annotations

from sqlalchemy import text

from core.lifecycle import JobKind
from db.database import Database
from db.jobs.cancel import request_cancel
from db.jobs.read import get_job, list_jobs
from db.jobs.retry import retry
from db.jobs.submit import NewJob, submit
from db.migrate import upgrade
from db.retention import delete_unused_uploads
from db.uploads import NewUpload, add_upload


def test_an_upscale_job_keeps_its_kind_and_its_upload(database: Database) -> None:
    upload = add_upload(database, NewUpload("u", "ann", "key", 1, 1, 1, "x"))
    given = {"parent": {"upload": upload.id}, "seed": 0}
    new = NewJob(owner="ann", model="upscale", prompt="", input=given, kind=JobKind.UPSCALE)
    job = submit(database, new).job
    render = submit(database, NewJob(owner="ann", model="demo", prompt="", input={"seed": 0})).job
    assert (job.kind, render.kind) == ("upscale", "render")
    assert [each.id for each in list_jobs(database, kind=JobKind.UPSCALE)] == [job.id]
    assert [each.id for each in list_jobs(database, kind=JobKind.RENDER)] == [render.id]
    assert delete_unused_uploads(database, 0.0) == []
    request_cancel(database, job.id)
    again = retry(database, job.id)
    assert (get_job(database, again.id).kind, again.upload_id) == ("upscale", upload.id)


def test_jobs_of_earlier_versions_are_renders(database_url: str) -> None:
    upgrade(database_url, "0004")
    database = Database(database_url)
    job = (
        "INSERT INTO jobs (id, owner, model, priority, turn, status, revision, attempt, max_attempts, attempts_free, "
        "available_at, created_at, prompt, input, requested, warnings) "
        "VALUES ('j', 'ann', 'demo', 5, 0, 'queued', 1, 0, 3, 0, 1.0, 1.0, 'x', '{}', '{}', '[]')"
    )
    with database.write() as session:
        session.execute(text(job))
    upgrade(database_url)
    assert get_job(database, "j").kind == "render"
    database.dispose()
