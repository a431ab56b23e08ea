"""Claiming: a worker takes the best job of its model, in fair order, under a new attempt number and a lease."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, exists, insert, literal, or_, select, update
from sqlalchemy.orm import Session

from core.lifecycle import JobStatus
from db.clock import now
from db.conditions import QUEUED
from db.database import Database
from db.jobs.transition import transition
from db.tables import Attempt, Job, JobExclusion, Worker


@dataclass(frozen=True)
class Claimant:
    """The worker that claims: its name, which of its lives this is, and how long its lease lasts."""

    worker: str
    incarnation: str
    lease_seconds: float


def claim_next(database: Database, model: str, claimant: Claimant, hint: str | None = None) -> Job | None:
    """The next job of `model` for this worker, now running; None when there is nothing it may take.

    `hint` is the job id of the token that woke the worker; the token is spent, whichever job was taken.
    """
    with database.write() as session:
        job = _claim_best(session, model, claimant)
        if hint is not None:
            _spend_hint(session, hint, job)
        return job


def _claim_best(session: Session, model: str, claimant: Claimant) -> Job | None:
    best = session.execute(
        select(Job.id)
        .where(QUEUED, Job.model == model, *claimable_by(claimant.worker))
        .order_by(Job.priority.desc(), Job.turn, Job.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if best is None or not _is_current(session, claimant):
        return None
    job = transition(
        session,
        best.id,
        JobStatus.QUEUED,
        JobStatus.RUNNING,
        values={
            "attempt": Job.attempt + 1,
            "worker": claimant.worker,
            "lease_until": now() + literal(claimant.lease_seconds),
            "started_at": now(),
        },
    )
    if job is not None:
        _open_attempt(session, job, claimant)
    return job


def claimable_by(worker: str) -> list[ColumnElement[bool]]:
    """What must hold, besides being queued, for this worker to take a job."""
    bad = exists().where(JobExclusion.job_id == Job.id, JobExclusion.worker == worker)
    return [Job.available_at <= now(), or_(Job.deadline_at.is_(None), Job.deadline_at > now(), Job.attempt > 0), ~bad]


def _is_current(session: Session, claimant: Claimant) -> bool:
    """A worker that a newer life of the same name has replaced, or that was paused, gets nothing."""
    row = session.get(Worker, claimant.worker, populate_existing=True)
    if row is None:
        return True
    return row.incarnation == claimant.incarnation and row.paused_at is None and row.drain_requested_at is None


def _open_attempt(session: Session, job: Job, claimant: Claimant) -> None:
    session.execute(
        insert(Attempt).values(
            job_id=job.id,
            number=job.attempt,
            worker=claimant.worker,
            incarnation=claimant.incarnation,
            started_at=now(),
        )
    )


def _spend_hint(session: Session, hint: str, claimed: Job | None) -> None:
    """The token is gone from the broker. If another job took it, the hinted one inherits that job's own token, if any."""
    if claimed is not None and (claimed.id == hint or claimed.hinted_at is not None):
        return
    session.execute(update(Job).where(Job.id == hint, QUEUED, Job.hinted_at.is_not(None)).values(hinted_at=None))
