"""Claiming: a worker takes the best jobs of its model, in fair order, under new attempt numbers and a lease."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Double,
    Executable,
    Integer,
    String,
    bindparam,
    exists,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from core.lifecycle import JobStatus
from db.database import Database
from db.jobs.transition import TransitionStatement, apply_transition, build_transition
from db.sql import QUEUED, insert_rows, now
from db.tables import Attempt, Job, JobExclusion, Worker, core_table


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
    jobs = claim_many(database, model, claimant, 1, [hint] if hint is not None else [])
    return jobs[0] if jobs else None


def claim_many(database: Database, model: str, claimant: Claimant, limit: int, hints: Sequence[str]) -> list[Job]:
    """As `claim_next` for up to `limit` jobs in one transaction, best first; all `hints` are spent."""
    with database.write() as session:
        jobs = _claim_best(session, model, claimant, limit)
        _spend_hints(session, hints, jobs)
        return jobs


def _claim_best(session: Session, model: str, claimant: Claimant, limit: int) -> list[Job]:
    parameters = {
        "for_model": model,
        "for_worker": claimant.worker,
        "for_life": claimant.incarnation,
        "for_seconds": claimant.lease_seconds,
        "at_most": limit,
    }
    jobs = apply_transition(session, _claiming(), parameters)
    insert_rows(
        session,
        Attempt,
        "started_at",
        [
            {"job_id": job.id, "number": job.attempt, "worker": claimant.worker, "incarnation": claimant.incarnation}
            for job in jobs
        ],
    )
    return sorted(jobs, key=lambda job: (-job.priority, job.turn, job.id))


@cache
def _claiming() -> TransitionStatement:
    worker = bindparam("for_worker", type_=String())
    best = (
        select(Job.id)
        .where(QUEUED, Job.model == bindparam("for_model", type_=String()), *claimable_by(worker), ~_is_outdated(worker))
        .order_by(Job.priority.desc(), Job.turn, Job.id)
        .limit(bindparam("at_most", type_=Integer()))
        .with_for_update(skip_locked=True, of=Job)
        .cte("best")
    )
    values = {
        "attempt": Job.attempt + 1,
        "worker": worker,
        "lease_until": now() + bindparam("for_seconds", type_=Double()),
        "started_at": now(),
    }
    return build_transition(JobStatus.QUEUED, JobStatus.RUNNING, Job.id.in_(select(best.c.id)), values=values)


def claimable_by(worker: str | BindParameter[str]) -> list[ColumnElement[bool]]:
    """What must hold, besides being queued, for this worker to take a job."""
    bad = exists().where(JobExclusion.job_id == Job.id, JobExclusion.worker == worker)
    return [Job.available_at <= now(), or_(Job.deadline_at.is_(None), Job.deadline_at > now(), Job.attempt > 0), ~bad]


def _is_outdated(worker: BindParameter[str]) -> ColumnElement[bool]:
    """A worker that a newer life of the same name has replaced, or that was paused, gets nothing."""
    away = or_(
        Worker.incarnation != bindparam("for_life", type_=String()),
        Worker.paused_at.is_not(None),
        Worker.drain_requested_at.is_not(None),
    )
    return exists().where(Worker.name == worker, away)


def _spend_hints(session: Session, hints: Sequence[str], claimed: Sequence[Job]) -> None:
    """The tokens are gone from the broker. Where another job took one, its hinted job inherits that job's, if it had any."""
    taken = {job.id for job in claimed}
    left = [hint for hint in hints if hint not in taken]
    inherited = sum(job.hinted_at is not None for job in claimed if job.id not in hints)
    if bare := left[inherited:]:
        session.execute(_forgetting(), {"bare": bare})


@cache
def _forgetting() -> Executable:
    table = core_table(Job)
    bare = table.c.id.in_(bindparam("bare", expanding=True, type_=String()))
    return update(table).where(bare, QUEUED, Job.hinted_at.is_not(None)).values(hinted_at=None)
