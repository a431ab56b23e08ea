"""Reconcile jobs: requeue expired leases, expire passed deadlines, hold jobs that no worker can run.

Any number of reapers may call these functions concurrently. Each handles at most BATCH jobs a call.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from sqlalchemy import Select, exists, func, literal, or_, select
from sqlalchemy.orm import Session

from core.lifecycle import JobStatus
from db.database import Database
from db.jobs.finish import end_with_error
from db.jobs.transition import transition
from db.model_operations import claimable
from db.prepared import Prepared
from db.quarantine import is_final
from db.sql import QUEUED, RUNNING, now
from db.tables import Attempt, Job, JobExclusion, Worker
from db.worker_models import serves

BATCH = 200
FREE_RESTARTS = 5
"""Restarts of a worker that a job outlives without using up an attempt."""
UNRUNNABLE_SECONDS = 60.0
"""Seconds that a job waits for a capable worker before it is held."""


@dataclass(frozen=True)
class OpenWork:
    """`due`: the functions below may find a job. `queued`, `running`: whether jobs are.

    `operations`: whether `db.model_operations.claim` may find an operation on a model.
    """

    due: bool
    queued: bool
    running: bool
    operations: bool


def open_work(database: Database) -> OpenWork:
    """Return what there is to do: one query that takes no lock, for the rounds without anything."""
    with database.read_rows() as connection:
        (row,) = _open_work().rows(connection, {})
    return OpenWork(**{name: bool(value) for name, value in row.items()})


@cache
def _open_work() -> Prepared:
    lost = exists().where(RUNNING, Job.lease_until < now())
    late = exists().where(QUEUED, Job.deadline_at.is_not(None), Job.deadline_at < now(), Job.attempt == 0)
    excluded = exists().where(JobExclusion.job_id == Job.id, QUEUED)
    any_queued, any_running = exists().where(QUEUED), exists().where(RUNNING)
    due = or_(lost, late, excluded)
    any_operation = exists().where(claimable())
    columns = {"due": due, "queued": any_queued, "running": any_running, "operations": any_operation}
    return Prepared(select(*[each.label(name) for name, each in columns.items()]))


def requeue_expired_leases(database: Database) -> list[Job]:
    """Requeue, hold or cancel jobs whose lease expired, by their attempts and flags; return them."""
    with database.write() as session:
        expired = select(Job.id, Job.attempt, Job.worker).where(RUNNING, Job.lease_until < now())
        return _end_all_lost(session, expired, "its lease expired")


def requeue_predecessors(session: Session, worker: str) -> list[Job]:
    """Requeue jobs that an earlier process of this worker still holds, without waiting for their leases; return them.

    That costs no attempt, except for a job that was running in FREE_RESTARTS such processes: it may have ended them.
    """
    query = select(Job.id, Job.attempt).where(RUNNING, Job.worker == worker).limit(BATCH)
    message = f"Worker {worker} was lost: it was restarted."
    ended = []
    for job_id, attempt in session.execute(query.with_for_update(skip_locked=True)).all():
        code = "worker_lost" if _restarts_of(session, job_id) >= FREE_RESTARTS else "worker_restarted"
        if (job := end_with_error(session, job_id, attempt, code, message)) is not None:
            ended.append(job)
    return ended


def _restarts_of(session: Session, job_id: str) -> int:
    query = select(func.count()).select_from(Attempt)
    return session.scalar(query.where(Attempt.job_id == job_id, Attempt.error_code == "worker_restarted")) or 0


def expire_late(database: Database) -> list[Job]:
    """Expire queued jobs whose deadline has passed; return them."""
    with database.write() as session:
        late = session.scalars(
            select(Job.id)
            .where(QUEUED, Job.deadline_at.is_not(None), Job.deadline_at < now(), Job.attempt == 0)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        ).all()
        return [job for job_id in late if (job := _expire(session, job_id)) is not None]


def hold_unrunnable(database: Database) -> list[Job]:
    """Hold queued jobs from which every live worker of their model has been excluded for a while; return them."""
    excluded = exists().where(JobExclusion.job_id == Job.id, JobExclusion.worker == Worker.name, is_final())
    alive = (serves(Job.model), Worker.seen_at > now() - literal(UNRUNNABLE_SECONDS))
    capable = exists().where(*alive, Worker.state.in_(("loading", "ready", "blocked", "unloaded")), ~excluded)
    excluded_at = (
        select(func.max(JobExclusion.created_at)).where(JobExclusion.job_id == Job.id, is_final()).scalar_subquery()
    )
    query = select(Job.id).where(
        QUEUED,
        Job.id.in_(select(JobExclusion.job_id).where(is_final())),
        excluded_at < now() - literal(UNRUNNABLE_SECONDS),
        ~capable,
    )
    with database.read() as session:
        found = session.scalars(query.limit(BATCH)).all()
    if not found:
        return []
    with database.write() as session:
        return [job for job_id in sorted(found) if (job := _hold(session, job_id)) is not None]


def _hold(session: Session, job_id: str) -> Job | None:
    message = "No remaining worker can run this job. Retry it after you start a larger one."
    values = {"error_code": "no_capable_worker", "error_message": message}
    return transition(
        session, job_id, JobStatus.QUEUED, JobStatus.HELD, values=values, code="no_capable_worker", message=message
    )


def _expire(session: Session, job_id: str) -> Job | None:
    return transition(
        session,
        job_id,
        JobStatus.QUEUED,
        JobStatus.EXPIRED,
        values={"error_code": "deadline_passed", "error_message": "The job could not start before its deadline."},
        code="deadline_passed",
    )


def _end_all_lost(session: Session, query: Select[str, int, str | None], reason: str) -> list[Job]:
    rows = session.execute(query.limit(BATCH).with_for_update(skip_locked=True)).all()
    ended = []
    for job_id, attempt, worker in rows:
        message = f"Worker {worker} was lost: {reason}."
        if (job := end_with_error(session, job_id, attempt, "worker_lost", message)) is not None:
            ended.append(job)
    return ended
