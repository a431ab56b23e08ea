"""Answers given before: looked up when a repeated request would no longer be accepted as a new one."""

from __future__ import annotations

from db.database import Database
from db.jobs.submit import Submitted
from db.tables import IdempotencyKey, Job


def recall(database: Database, owner: str, key: str, request_hash: str) -> Submitted | None:
    """The job and answer of this key and body; None when there is none (a submit then says what is wrong)."""
    with database.read() as session:
        row = session.get(IdempotencyKey, (owner, key))
        if row is None or row.request_hash != request_hash:
            return None
        job = session.get(Job, row.job_id)
        return None if job is None else Submitted(job, hint=False, replayed=True, answer=row.answer)


def job_of_key(database: Database, owner: str, key: str) -> Job | None:
    """The job that was submitted under this key, if any."""
    with database.read() as session:
        row = session.get(IdempotencyKey, (owner, key))
        return session.get(Job, row.job_id) if row is not None else None
