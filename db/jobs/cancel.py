"""Cancel jobs: immediately while queued or held, by a request flag while running."""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.orm import Session

from core.lifecycle import JobStatus
from db.database import Database
from db.jobs.read import find_job
from db.jobs.transition import record_event, transition
from db.sql import RUNNING, now
from db.tables import Job


def request_cancel(database: Database, job_id: str, owner: str | None = None) -> Job:
    """Cancel a queued or held job, flag a running one, leave an ended one unchanged; return the job afterwards.

    Raises NotFound or Gone like `db.jobs.read.get_job`.
    """
    with database.write() as session:
        job = find_job(session, job_id, owner, lock=True)
        return _cancel_waiting(session, job) or _mark_running(session, job) or find_job(session, job_id)


def cancel_waiting(database: Database, job_id: str) -> Job | None:
    """Cancel a queued or held job and return it; None, without a change, for a job in any other status."""
    with database.write() as session:
        return _cancel_waiting(session, find_job(session, job_id, lock=True))


def _cancel_waiting(session: Session, job: Job) -> Job | None:
    for before in (JobStatus.QUEUED, JobStatus.HELD):
        if (canceled := transition(session, job.id, before, JobStatus.CANCELED, code="cancel_requested")) is not None:
            return canceled
    return None


def _mark_running(session: Session, job: Job) -> Job | None:
    marked = session.scalar(
        update(Job)
        .where(Job.id == job.id, RUNNING, Job.cancel_requested_at.is_(None))
        .values(cancel_requested_at=now(), revision=Job.revision + 1)
        .returning(Job)
        .execution_options(populate_existing=True)
    )
    if marked is not None:
        record_event(session, marked, JobStatus.RUNNING, code="cancel_requested", message="cancel requested")
    return marked
