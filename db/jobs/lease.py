"""Renewing leases: proof of life of a worker and of every attempt it holds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import literal, tuple_, update

from db.clock import now
from db.conditions import RUNNING
from db.database import Database
from db.tables import Job


@dataclass(frozen=True)
class Renewal:
    """What the database said: attempts still held, and those whose job somebody asked to cancel."""

    held: frozenset[tuple[str, int]]
    cancel_requested: frozenset[tuple[str, int]]


def renew_leases(database: Database, worker: str, attempts: Collection[tuple[str, int]], lease_seconds: float) -> Renewal:
    """Extends the leases of these (job id, attempt) pairs; a pair that is missing from `held` is lost for good."""
    if not attempts:
        return Renewal(frozenset(), frozenset())
    with database.write() as session:
        rows = session.execute(
            update(Job)
            .where(
                tuple_(Job.id, Job.attempt).in_(list(attempts)),
                RUNNING,
                Job.worker == worker,
            )
            .values(lease_until=now() + literal(lease_seconds))
            .returning(Job.id, Job.attempt, Job.cancel_requested_at)
        ).all()
    return Renewal(
        held=frozenset((row.id, row.attempt) for row in rows),
        cancel_requested=frozenset((row.id, row.attempt) for row in rows if row.cancel_requested_at is not None),
    )
