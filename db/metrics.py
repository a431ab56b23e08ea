"""Read what happened to jobs since an earlier read, at a cost that grows with those changes and not with the history."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, literal, select

from db.database import Database
from db.sql import now
from db.tables import Job, JobEvent

SETTLE_SECONDS = 5.0
"""Events of this age are counted: by then every transaction that took an earlier id has ended."""
MOST_EVENTS = 20_000
"""Most events of one read; the next read continues there."""


@dataclass(frozen=True)
class JobChange:
    """A job's change of status. Seconds are those from its submit, and from its latest start, to the change."""

    model: str
    before: str | None
    after: str
    attempt: int
    code: str | None
    since_submit: float
    since_start: float | None


@dataclass(frozen=True)
class JobChanges:
    """Changes in their order; `upto`: the id of the last event read, for the next call; `more`: whether there are others."""

    changes: list[JobChange]
    upto: int
    more: bool


def newest_event(database: Database) -> int:
    """Return the id of the newest event; 0 when there is none."""
    with database.read() as session:
        return session.scalar(select(func.max(JobEvent.id))) or 0


def changes_after(database: Database, last: int, settle_seconds: float = SETTLE_SECONDS) -> JobChanges:
    """Return the changes of status with an id above `last`, at most MOST_EVENTS; requests such as to cancel are left out."""
    settled = JobEvent.at <= now() - literal(settle_seconds)
    query = (
        select(
            JobEvent.id,
            Job.model,
            JobEvent.from_status,
            JobEvent.to_status,
            JobEvent.attempt,
            JobEvent.code,
            JobEvent.at - Job.created_at,
            JobEvent.at - Job.started_at,
        )
        .join(Job, Job.id == JobEvent.job_id)
        .where(JobEvent.id > last, settled)
        .order_by(JobEvent.id)
        .limit(MOST_EVENTS)
    )
    with database.read() as session:
        rows = session.execute(query).all()
    changes = [JobChange(*row[1:]) for row in rows if row.from_status != row.to_status]
    return JobChanges(changes, rows[-1].id if rows else last, len(rows) == MOST_EVENTS)
