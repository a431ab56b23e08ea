"""Renew leases, and select the running jobs that an attempt still holds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

from sqlalchemy import ColumnElement, Double, Executable, String, bindparam, select, tuple_, update

from db.database import Database
from db.sql import RUNNING, now
from db.tables import Job, core_table

Held = tuple[str, int]
"""Job id and attempt number: what leases and fences speak of."""


def held_by_attempts() -> tuple[ColumnElement[bool], ...]:
    """Conditions on a running job; the parameter `held` is a list of `Held`."""
    wanted = tuple_(Job.id, Job.attempt).in_(bindparam("held", expanding=True))
    locked = select(Job.id).where(wanted, RUNNING).order_by(Job.id).with_for_update().cte("locked")
    return Job.id.in_(select(locked.c.id)), wanted


@dataclass(frozen=True)
class Renewal:
    """What the database said: attempts still held, and those whose job somebody asked to cancel."""

    held: frozenset[Held]
    cancel_requested: frozenset[Held]


def renew_leases(database: Database, worker: str, attempts: Collection[Held], lease_seconds: float) -> Renewal:
    """Extends the leases of these attempts; one that is missing from `held` is lost for good."""
    if not attempts:
        return Renewal(frozenset(), frozenset())
    parameters = {"held": list(attempts), "of_worker": worker, "for_seconds": lease_seconds}
    with database.write() as session:
        rows = session.connection().execute(_renewing(), parameters).all()
    return Renewal(
        held=frozenset((row.id, row.attempt) for row in rows),
        cancel_requested=frozenset((row.id, row.attempt) for row in rows if row.cancel_requested_at is not None),
    )


@cache
def _renewing() -> Executable:
    table = core_table(Job)
    return (
        update(table)
        .where(*held_by_attempts(), RUNNING, Job.worker == bindparam("of_worker", type_=String()))
        .values(lease_until=now() + bindparam("for_seconds", type_=Double()))
        .returning(table.c.id, table.c.attempt, table.c.cancel_requested_at)
    )
