"""Statistics of the queue: open jobs, and durations of recent jobs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from sqlalchemy import func, select

from core.lifecycle import JobStatus
from db.database import Database
from db.prepared import Prepared
from db.sql import QUEUED, has_status, now
from db.tables import Job

_RECENT = 20
_OPEN = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.HELD)


def count_open(database: Database, owner: str, face: str) -> int:
    """Count an owner's queued and running jobs of one face."""
    query = select(func.count()).select_from(Job).where(Job.owner == owner, Job.face == face)
    with database.read() as session:
        return sum(session.scalar(query.where(has_status(status))) or 0 for status in (JobStatus.QUEUED, JobStatus.RUNNING))


def open_counts(database: Database) -> dict[str, dict[str, int]]:
    """Return model -> status -> number of queued, running and held jobs."""
    found: dict[str, dict[str, int]] = {}
    with database.read_rows() as connection:
        for status in _OPEN:
            for row in _count_of(status).rows(connection, {}):
                found.setdefault(row["model"], {})[status] = row["counted"]
    return found


@cache
def _count_of(status: JobStatus) -> Prepared:
    """Return the statement for one status: IN would not use the partial indexes."""
    counted = func.count().label("counted")
    return Prepared(select(Job.model, counted).where(has_status(status)).group_by(Job.model))


def recent_seconds(database: Database) -> Mapping[str, float]:
    """Return model -> mean seconds from start to end of its last succeeded jobs; models without any are left out."""
    last = (
        select(Job.model, (Job.completed_at - Job.started_at).label("seconds"))
        .where(has_status(JobStatus.SUCCEEDED), Job.started_at.is_not(None))
        .order_by(Job.id.desc())
        .limit(_RECENT * 5)
        .subquery()
    )
    with database.read() as session:
        rows = session.execute(select(last.c.model, func.avg(last.c.seconds)).group_by(last.c.model))
        return {model: float(seconds) for model, seconds in rows if seconds is not None}


def oldest_queued(database: Database) -> dict[str, float]:
    """Return model -> seconds since its oldest queued job was submitted."""
    query = select(Job.model, now() - func.min(Job.created_at)).where(QUEUED)
    with database.read() as session:
        return {model: max(float(seconds), 0.0) for model, seconds in session.execute(query.group_by(Job.model))}
