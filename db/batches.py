"""Submit batches, many jobs in one transaction, and read their state."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import func, insert, select

from core.errors import InvalidInput, NotFound
from core.ids import new_id
from core.lifecycle import SETTLED
from db.database import Database
from db.jobs.queued_limits import lock_limits
from db.jobs.submit import NewJob, insert_job
from db.sql import insert_ignore, now
from db.tables import Batch, BatchJob, IdempotencyKey, Job

_KEYS = "batch:"
"""Prefix that separates the Idempotency-Keys of batches from those of single jobs."""
_KEY_COLUMN = 255


@dataclass(frozen=True)
class NewBatch:
    """A batch to submit; `jobs` are (job, its values on the axes), in order."""

    owner: str
    requested: dict[str, Any]
    jobs: Sequence[tuple[NewJob, dict[str, Any]]]
    name: str | None = None
    key: str | None = None
    request_hash: str = ""


@dataclass(frozen=True)
class SubmittedBatch:
    """The result of a submit. `hints`: the jobs to publish now; `replayed`: the batch existed already.

    `members`: the ids and models of its jobs, in order; empty when replayed.
    """

    batch: Batch
    hints: Sequence[Job] = ()
    replayed: bool = False
    members: Sequence[tuple[str, str]] = ()


def submit_batch(database: Database, new: NewBatch) -> SubmittedBatch:
    """Store all jobs or none. Raises like `db.jobs.submit.submit`."""
    with database.write() as session:
        lock_limits(session, [job for job, _ in new.jobs])
        batch_id = new_id()
        if new.key is not None and not insert_ignore(
            session,
            IdempotencyKey,
            owner=new.owner,
            key=_stored_key(new.key),
            request_hash=new.request_hash,
            job_id=batch_id,
            created_at=now(),
        ):
            row = session.get_one(IdempotencyKey, (new.owner, _stored_key(new.key)))
            if row.request_hash != new.request_hash:
                raise InvalidInput(
                    f"The Idempotency-Key '{new.key}' was used before with another body. Use a new key.",
                    code="idempotency_mismatch",
                    field="Idempotency-Key",
                )
            return SubmittedBatch(session.get_one(Batch, row.job_id), replayed=True)
        values = {"id": batch_id, "owner": new.owner, "name": new.name, "total": len(new.jobs)}
        batch = session.scalars(
            insert(Batch).values(**values, requested=new.requested, created_at=now()).returning(Batch)
        ).one()
        hints, stored = [], []
        for index, (job, axes) in enumerate(new.jobs):
            member = replace(job, requested={**job.requested, "batch_id": batch_id, "batch_index": index})
            row_of_job = insert_job(session, member)
            session.execute(insert(BatchJob).values(batch_id=batch_id, index=index, job_id=row_of_job.id, axes=axes))
            stored.append((row_of_job.id, row_of_job.model))
            if row_of_job.hinted_at is not None:
                hints.append(row_of_job)
        return SubmittedBatch(batch, hints, members=stored)


def _stored_key(key: str) -> str:
    """Return the prefixed key, or a digest of it when it is too long for the column."""
    prefixed = _KEYS + key
    return prefixed if len(prefixed) <= _KEY_COLUMN else f"{_KEYS}sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def get_batch(database: Database, batch_id: str, owner: str | None = None) -> Batch:
    """Return the batch. Raises NotFound when it does not exist or belongs to another owner."""
    with database.read() as session:
        batch = session.get(Batch, batch_id)
    if batch is None or owner not in (None, batch.owner):
        raise NotFound(f"There is no batch {batch_id}.", code="batch_not_found")
    return batch


def list_batches(database: Database, owner: str | None, before: str | None, limit: int) -> Sequence[Batch]:
    """List batches, newest first; `before` is the id of the last batch of the previous page."""
    query = select(Batch).order_by(Batch.id.desc()).limit(limit)
    query = query.where(Batch.owner == owner) if owner is not None else query
    query = query.where(Batch.id < before) if before is not None else query
    with database.read() as session:
        return session.scalars(query).all()


def counts_of(database: Database, batch_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return batch id -> status -> number of its jobs; deleted jobs are not counted."""
    query = (
        select(BatchJob.batch_id, Job.status, func.count())
        .join(Job, Job.id == BatchJob.job_id)
        .where(BatchJob.batch_id.in_(batch_ids))
        .group_by(BatchJob.batch_id, Job.status)
    )
    found: dict[str, dict[str, int]] = {batch_id: {} for batch_id in batch_ids}
    with database.read() as session:
        for batch_id, status, count in session.execute(query):
            found[batch_id][status] = count
    return found


def members(database: Database, batch_id: str) -> list[tuple[BatchJob, Job]]:
    """Return the batch's jobs in order, without deleted ones."""
    query = (
        select(BatchJob, Job)
        .join(Job, Job.id == BatchJob.job_id)
        .where(BatchJob.batch_id == batch_id)
        .order_by(BatchJob.index)
    )
    with database.read() as session:
        return [(member, job) for member, job in session.execute(query)]


def open_members(database: Database, batch_id: str) -> Sequence[str]:
    """Return the ids of the batch's jobs that have not settled."""
    query = select(Job.id).join(BatchJob, BatchJob.job_id == Job.id)
    with database.read() as session:
        return session.scalars(query.where(BatchJob.batch_id == batch_id, Job.status.not_in(SETTLED))).all()
