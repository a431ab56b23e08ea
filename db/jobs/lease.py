"""Renew leases, and select running jobs by the attempts that hold them.

Rows are locked in the order of their ids, so that concurrent writers do not deadlock.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

from sqlalchemy import ColumnElement, Double, Executable, String, bindparam, select, tuple_, update

from db.database import Database
from db.sql import RUNNING, now
from db.tables import Job, core_table

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
    with database.write() as session:
        rows = session.connection().execute(_renewal(), parameters).all()
    return Renewal(
        held=frozenset((row.id, row.attempt) for row in rows),
        cancel_requested=frozenset((row.id, row.attempt) for row in rows if row.cancel_requested_at is not None),
    )


@cache
def _renewal() -> Executable:
    table = core_table(Job)
    return (
        update(table)
        .where(*held_by_attempts(), RUNNING, Job.worker == bindparam("of_worker", type_=String()))
        .values(lease_until=now() + bindparam("for_seconds", type_=Double()))
        .returning(table.c.id, table.c.attempt, table.c.cancel_requested_at)
    )
