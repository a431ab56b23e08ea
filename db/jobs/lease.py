"""Renewing leases: proof of life of a worker and of every attempt it holds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

from sqlalchemy import Double, Executable, String, bindparam, update

from db.clock import now
from db.conditions import RUNNING
from db.database import Database
from db.jobs.holding import Held, held_by_attempts
from db.tables import Job, core_table


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
