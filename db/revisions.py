"""Where many jobs stand, in as few queries as possible: for callers who wait while no news come over Redis."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from db.database import Database
from db.tables import Job

_CHUNK = 500


def revisions_of(database: Database, job_ids: Sequence[str]) -> list[tuple[str, int, str]]:
    """(id, revision, status) of the jobs that exist."""
    found: list[tuple[str, int, str]] = []
    with database.read() as session:
        for start in range(0, len(job_ids), _CHUNK):
            chunk = job_ids[start : start + _CHUNK]
            query = select(Job.id, Job.revision, Job.status).where(Job.id.in_(chunk))
            found += [(row.id, row.revision, row.status) for row in session.execute(query)]
    return found
