"""Claim queued jobs for a worker and renew its leases."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache

from sqlalchemy import (
    CTE,
    BindParameter,
    ColumnElement,
    Double,
    Insert,
    Integer,
    String,
    and_,
    bindparam,
    case,
    exists,
    insert,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.orm import aliased

from core.lifecycle import JobStatus
from db.database import Database
from db.jobs.transition import TransitionStatement, build_transition, record_events
from db.prepared import Prepared, Transaction, connection_of, core_table, detached
from db.quarantine import excludes, is_on_probation, is_quarantined
from db.size_limits import SizeLimit, fits
from db.sql import QUEUED, RUNNING, insert_rows, now
from db.tables import Attempt, Job, JobExclusion, Worker

_SOME_WITHOUT_HINT = "some_without_hint"

Held = tuple[str, int]
"""(job id, attempt number), which leases and fences refer to."""


def held_by_attempts() -> tuple[ColumnElement[bool], ...]:
    """Return conditions on a running job; the parameter `held` is a list of `Held`."""
    wanted = tuple_(Job.id, Job.attempt).in_(bindparam("held", expanding=True))
    locked = select(Job.id).where(wanted, RUNNING).order_by(Job.id).with_for_update().cte("locked")
    return Job.id.in_(select(locked.c.id)), wanted


@dataclass(frozen=True)
class Renewal:
    """The result of a renewal: attempts that still hold their job, and those whose job has a cancel request."""

    held: frozenset[Held]
    cancel_requested: frozenset[Held]


def renew_leases(database: Database, worker: str, attempts: Collection[Held], lease_seconds: float) -> Renewal:
    """Extend the leases of these attempts; an attempt that is missing from `held` has lost its job."""
    if not attempts:
        return Renewal(frozenset(), frozenset())
    parameters = {"held": list(attempts), "of_worker": worker, "for_seconds": lease_seconds}
    with database.write_rows(separate=True) as connection:
        rows = _renewal().rows(connection, parameters)
    return Renewal(
        held=frozenset((row["id"], row["attempt"]) for row in rows),
        cancel_requested=frozenset((row["id"], row["attempt"]) for row in rows if row["cancel_requested_at"] is not None),
    )


@cache
def _renewal() -> Prepared:
    table = core_table(Job)
    extended = (
        update(table)
        .where(*held_by_attempts(), RUNNING, Job.worker == bindparam("of_worker", type_=String()))
        .values(lease_until=now() + bindparam("for_seconds", type_=Double()))
        .returning(table.c.id, table.c.attempt, table.c.cancel_requested_at)
    )
    return Prepared(extended, ["held"])


@dataclass(frozen=True)
class Claimant:
    """The claiming worker: its name, the incarnation of its process, the duration of its lease, and what it can hold."""

    worker: str
    incarnation: str
    lease_seconds: float
    sizes: SizeLimit | None = None


def claim_next(database: Database, model: str, claimant: Claimant, hint: str | None = None) -> Job | None:
    """Claim the next job of `model` for this worker and return it, now running; None when there is none for it.

    `hint` is the job id of the token that the worker took from the broker. It counts as used even if another job is claimed.
    """
    jobs = claim_many(database, model, claimant, 1, [hint] if hint is not None else [])
    return jobs[0] if jobs else None


def claim_many(database: Database, model: str, claimant: Claimant, limit: int, hints: Sequence[str]) -> list[Job]:
    """Claim up to `limit` jobs like `claim_next`, all or none, best first; all `hints` count as used."""
    return claim_and_look(database, model, claimant, limit, hints)[0]


def claim_and_look(
    database: Database, model: str, claimant: Claimant, limit: int, hints: Sequence[str]
) -> tuple[list[Job], bool]:
    """Claim like `claim_many`; return also whether a job of the model was queued without a hint before or after that.

    False where none was claimed: the hints that are out were not used for any.
    """
    # A power cut ends the attempts of this machine: an undone claim leaves the job queued, for the same attempt again.
    # On Postgres the claim is one statement; hints whose marks are not cleared after it are found by the reaper.
    with database.write_rows(durable=False, separate=True) as session:
        jobs, some_without_hint = _claim_best(session, model, claimant, limit)
        _consume_hints(session, hints, jobs)
        return jobs, some_without_hint


def _claim_best(session: Transaction, model: str, claimant: Claimant, limit: int) -> tuple[list[Job], bool]:
    has_limit = claimant.sizes is not None
    parameters = {
        "for_model": model,
        "for_worker": claimant.worker,
        "for_incarnation": claimant.incarnation,
        "for_seconds": claimant.lease_seconds,
        "at_most": limit,
        **(claimant.sizes.parameters if claimant.sizes is not None else {}),
    }
    in_one = connection_of(session).dialect.name == "postgresql"
    statement = _claim_with_history(has_limit) if in_one else _claim_transition(has_limit).rows
    rows = statement.rows(session, parameters)
    without_hint = [row.pop(_SOME_WITHOUT_HINT) for row in rows]
    jobs = sorted((detached(Job, row) for row in rows), key=lambda job: (-job.priority, job.turn, job.id))
    if not in_one:
        _write_history(session, claimant, jobs)
    return jobs, any(without_hint)


def _write_history(session: Transaction, claimant: Claimant, jobs: Sequence[Job]) -> None:
    """Write the events and attempts of claimed jobs."""
    record_events(session, jobs, JobStatus.QUEUED, message=_claim_transition(claimant.sizes is not None).meaning)
    insert_rows(
        session,
        Attempt,
        "started_at",
        [
            {"job_id": job.id, "number": job.attempt, "worker": claimant.worker, "incarnation": claimant.incarnation}
            for job in jobs
        ],
    )


@cache
def _claim_with_history(has_limit: bool) -> Prepared:
    def attempts(claimed: CTE) -> list[Insert]:
        worker, incarnation = (bindparam(name, type_=String()) for name in ("for_worker", "for_incarnation"))
        names = ["job_id", "number", "worker", "incarnation", "started_at"]
        return [
            insert(core_table(Attempt)).from_select(
                names, select(claimed.c.id, claimed.c.attempt, worker, incarnation, now())
            )
        ]

    return _claim_transition(has_limit).with_history(attempts)


@cache
def _claim_transition(has_limit: bool) -> TransitionStatement:
    worker = bindparam("for_worker", type_=String())
    fitting = (fits(),) if has_limit else ()
    best = (
        select(Job.id)
        .where(QUEUED, Job.model == bindparam("for_model", type_=String()), *claimable_by(worker), *fitting)
        .where(~_may_not_claim(worker))
        .order_by(Job.priority.desc(), Job.turn, Job.id)
        .limit(_at_most(worker))
        .with_for_update(skip_locked=True, of=Job)
        .cte("best")
    )
    values = {
        "attempt": Job.attempt + 1,
        "worker": worker,
        "lease_until": now() + bindparam("for_seconds", type_=Double()),
        "started_at": now(),
    }
    # About no claimed row, so that the database looks once: the first jobs of a long queue have their hints.
    waiting = core_table(Job).alias("waiting")
    of_model = waiting.c.model == bindparam("for_model", type_=String())
    due = and_(waiting.c.status == literal_column("'queued'"), of_model, waiting.c.available_at <= now())
    without_hint = exists().where(due, waiting.c.hinted_at.is_(None)).correlate(None)
    return build_transition(
        JobStatus.QUEUED,
        JobStatus.RUNNING,
        Job.id.in_(select(best.c.id)),
        values=values,
        returning=(without_hint.label(_SOME_WITHOUT_HINT),),
    )


def _at_most(worker: BindParameter[str]) -> ColumnElement[int]:
    """Return the wanted number of jobs; one for a worker that must prove itself after a quarantine."""
    on_probation = exists().where(Worker.name == worker, is_on_probation())
    return case((on_probation, 1), else_=bindparam("at_most", type_=Integer()))


def claimable_by(worker: str | BindParameter[str]) -> list[ColumnElement[bool]]:
    """Return the conditions, other than being queued, for this worker to claim a job."""
    excluded = exists().where(JobExclusion.job_id == Job.id, JobExclusion.worker == worker, excludes())
    return [Job.available_at <= now(), or_(Job.deadline_at.is_(None), Job.deadline_at > now(), Job.attempt > 0), ~excluded]


def _may_not_claim(worker: BindParameter[str]) -> ColumnElement[bool]:
    """Match a worker that a newer process of the same name has replaced, or that is paused or draining."""
    held = aliased(Job)
    holds_a_job = exists().where(held.status == literal_column("'running'"), held.worker == worker)
    stopped = or_(
        Worker.incarnation != bindparam("for_incarnation", type_=String()),
        Worker.paused_at.is_not(None),
        Worker.drain_requested_at.is_not(None),
        is_quarantined(),
        and_(is_on_probation(), holds_a_job),
    )
    return exists().where(Worker.name == worker, stopped)


def _consume_hints(session: Transaction, hints: Sequence[str], claimed: Sequence[Job]) -> None:
    """Clear the marks of hinted jobs whose token was used for another job.

    A claimed job whose own token is still in the broker leaves that token to one of them.
    """
    claimed_ids = {job.id for job in claimed}
    unclaimed = [hint for hint in hints if hint not in claimed_ids]
    inherited = sum(job.hinted_at is not None for job in claimed if job.id not in hints)
    if without_token := unclaimed[inherited:]:
        _clear_hints().run(session, {"job_ids": without_token})


@cache
def _clear_hints() -> Prepared:
    table = core_table(Job)
    these = table.c.id.in_(bindparam("job_ids", expanding=True, type_=String()))
    marked = (QUEUED, table.c.hinted_at.is_not(None))
    locked = select(table.c.id).where(these, *marked).order_by(table.c.id).with_for_update().cte("locked")
    cleared = update(table).where(table.c.id.in_(select(locked.c.id)), *marked).values(hinted_at=None)
    return Prepared(cleared, ["job_ids"])
