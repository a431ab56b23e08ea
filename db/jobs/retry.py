"""Retry a job on a user's request."""

from __future__ import annotations

from sqlalchemy import delete
from sqlalchemy.orm import Session

from core.errors import Conflict
from core.lifecycle import SETTLED, JobKind, JobStatus
from db.database import Database
from db.jobs.queued_limits import check_limit
from db.jobs.read import find_job
from db.jobs.submit import NewJob, insert_job
from db.jobs.transition import transition
from db.sql import now
from db.tables import Job, JobExclusion


def retry(database: Database, job_id: str, owner: str | None = None, *, max_queued: int = 0) -> Job:
    """Requeue a held job with new attempts; submit any other settled job again as a new one with `retried_from`.

    Raises Conflict while the job is queued or running, TooManyRequests when its owner has `max_queued` queued jobs.
    """
    with database.write() as session:
        job = find_job(session, job_id, owner, lock=True)
        if job.status not in SETTLED:
            raise Conflict(f"Job {job_id} is {job.status}: only a job that has ended can be retried.")
        check_limit(session, job.owner, max_queued)
        return _release_held(session, job) or insert_job(session, _copy(job))


def _release_held(session: Session, job: Job) -> Job | None:
    released = transition(
        session,
        job.id,
        JobStatus.HELD,
        JobStatus.QUEUED,
        values={"attempts_free": Job.attempt, "available_at": now()},
        code="retried",
    )
    if released is not None:
        session.execute(delete(JobExclusion).where(JobExclusion.job_id == job.id))
    return released


def _copy(job: Job) -> NewJob:
    return NewJob(
        owner=job.owner,
        model=job.model,
        prompt=job.prompt,
        input=job.input,
        requested=job.requested,
        warnings=job.warnings,
        client_label=job.client_label,
        priority=job.priority,
        max_attempts=job.max_attempts,
        retried_from=job.id,
        kind=JobKind(job.kind),
    )
