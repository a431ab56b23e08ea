"""Cancel jobs: immediately while queued or held, by a request flag while running."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, select, true, update
from sqlalchemy.orm import Session

from core.lifecycle import JobStatus
from db.database import Database
from db.jobs.read import find_job
from db.jobs.transition import apply_transition, build_transition, record_events, transition
from db.sql import RUNNING, now
from db.tables import Job


def request_cancel(database: Database, job_id: str, owner: str | None = None) -> Job:
    """Cancel a queued or held job, flag a running one, leave an ended one unchanged; return the job afterwards.

    Raises NotFound or Gone like `db.jobs.read.get_job`.
    """
    with database.write() as session:
        job = find_job(session, job_id, owner, lock=True)
        return _cancel_waiting(session, job) or next(iter(_mark_running(session, Job.id == job_id)), job)


def request_cancels(database: Database, job_ids: Collection[str], owner: str | None = None) -> Sequence[Job]:
    """Do for many jobs what `request_cancel` does, in one transaction; return those that it has changed.

    Jobs that do not exist, or are another owner's, are skipped.
    """
    wanted = Job.id.in_(job_ids) & (true() if owner is None else Job.owner == owner)
    with database.write() as session:
        session.execute(select(Job.id).where(wanted).order_by(Job.id).with_for_update())  # in the order of all others
        waiting = [
            job
            for before in (JobStatus.QUEUED, JobStatus.HELD)
            for job in apply_transition(
                session, build_transition(before, JobStatus.CANCELED, wanted), code="cancel_requested"
            )
        ]
        return [*waiting, *_mark_running(session, wanted)]


def cancel_waiting(database: Database, job_id: str) -> Job | None:
    """Cancel a queued or held job and return it; None, without a change, for a job in any other status."""
    with database.write() as session:
        return _cancel_waiting(session, find_job(session, job_id, lock=True))


def _cancel_waiting(session: Session, job: Job) -> Job | None:
    for before in (JobStatus.QUEUED, JobStatus.HELD):
        if (canceled := transition(session, job.id, before, JobStatus.CANCELED, code="cancel_requested")) is not None:
            return canceled
    return None


def _mark_running(session: Session, wanted: ColumnElement[bool]) -> Sequence[Job]:
    marked = session.scalars(
        update(Job)
        .where(wanted, RUNNING, Job.cancel_requested_at.is_(None))
        .values(cancel_requested_at=now(), revision=Job.revision + 1)
        .returning(Job)
        .execution_options(populate_existing=True)
    ).all()
    record_events(session, marked, JobStatus.RUNNING, code="cancel_requested", message="cancel requested")
    return marked
