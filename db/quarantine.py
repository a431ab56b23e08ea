"""Which workers may take no job for a while, the quarantine, and which never a certain one, the exclusions."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Select, String, Update, and_, bindparam, literal, or_, select, update

from core.retries import EXCLUDING_CODES
from db.prepared import Prepared, Transaction, core_table
from db.sql import now
from db.tables import JobExclusion, Worker

AVOID_SECONDS = 60.0
"""How long another worker than the one where it failed is preferred for a job; then any may take it."""


def is_quarantined() -> ColumnElement[bool]:
    """Match a worker that may claim nothing until its quarantine is over."""
    return and_(Worker.quarantined_until.is_not(None), Worker.quarantined_until > now())


def is_on_probation() -> ColumnElement[bool]:
    """Match a worker in quarantine, or after one and before its next success: it may hold one job at a time."""
    return Worker.quarantined_until.is_not(None)


def end_quarantine() -> dict[str, Any]:
    """Return the values of a worker's row that end its quarantine and forget its failures."""
    return {"quarantined_until": None, "quarantines": None, "quarantine_reason": None, "failures": None}


def trust(session: Transaction, workers: Collection[str]) -> None:
    """Forget the failures of workers that have just finished a job, and end their quarantine."""
    _trust().run(session, {"trusted": sorted(workers)})


@cache
def _trust() -> Prepared:
    return Prepared(trusting(bindparam("trusted", expanding=True, type_=String())), ["trusted"])


def trusting(workers: BindParameter[Any] | Select[Any]) -> Update:
    """Return the statement of `trust` for a list or a query of names."""
    table = core_table(Worker)
    marked = or_(table.c.failures.is_not(None), table.c.quarantined_until.is_not(None))
    return update(table).where(table.c.name.in_(workers), marked).values(**end_quarantine())


def is_final() -> ColumnElement[bool]:
    """Match exclusions for good."""
    return JobExclusion.code.in_(sorted(EXCLUDING_CODES))


def excludes() -> ColumnElement[bool]:
    """Match exclusions that hold now."""
    return or_(is_final(), JobExclusion.created_at > now() - literal(AVOID_SECONDS))


def excluded_from(session: Transaction, job_id: str) -> dict[str, str]:
    """Return the workers that are excluded from the job now, with the error code of each."""
    return {row["worker"]: row["code"] for row in _exclusions().rows(session, {"of_job": job_id})}


@cache
def _exclusions() -> Prepared:
    of_job = JobExclusion.job_id == bindparam("of_job", type_=String())
    return Prepared(select(JobExclusion.worker, JobExclusion.code).where(of_job, excludes()).order_by(JobExclusion.worker))
