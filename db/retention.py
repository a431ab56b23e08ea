"""Delete settled jobs and their images, by age, by total size or by id; afterwards the API answers 410 for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, exists, func, literal, select
from sqlalchemy.orm import Session

from core.errors import Conflict
from core.lifecycle import SETTLED
from core.storage import job_and_attempt
from db.database import Database
from db.images import find_image
from db.jobs.read import find_job
from db.sql import RUNNING, insert_ignore, now
from db.tables import IdempotencyKey, Image, Job, Tombstone, Upload
from db.uploads import delete_uploads
from db.usage import UsageChange
from db.webhook_collector import rewind_cursor

BATCH = 100


@dataclass(frozen=True)
class Deleted:
    """The result of a deletion: the number of jobs, and the storage keys of their images, whose files the caller deletes."""

    jobs: int
    keys: list[str]


def delete_job(database: Database, job_id: str, owner: str | None = None) -> Deleted:
    """Delete one settled job. Raises Conflict while it is queued or running."""
    with database.write() as session:
        job = find_job(session, job_id, owner, lock=True)
        if job.status not in SETTLED:
            raise Conflict(f"Job {job_id} is {job.status}. Cancel it first, then delete it.", code="job_not_settled")
        return _delete_jobs(session, [job])


def delete_image(database: Database, image_id: str, owner: str | None = None) -> str:
    """Delete one image's row and return its storage key."""
    with database.write() as session:
        image = find_image(session, image_id, owner)
        # The image before its tombstone, as in `_delete_jobs`: in two orders, two deletions could wait for each other.
        deleted = session.execute(delete(Image).where(Image.id == image.id).returning(Image.id)).first()
        _add_tombstone(session, image.id, "image", image.owner)
        job = session.get(Job, image.job_id)
        if deleted is not None and job is not None:  # else a call at the same time deleted it
            change = UsageChange()
            change.subtract_image(job, image)
            change.write(session)
        return image.key


def delete_older(database: Database, days: float) -> Deleted:
    """Delete up to BATCH jobs that settled more than `days` ago."""
    with database.write() as session:
        old = select(Job).where(Job.completed_at < now() - literal(days * 86400.0), Job.status.in_(SETTLED))
        chosen = old.order_by(Job.completed_at).limit(BATCH).with_for_update(skip_locked=True)
        return _delete_jobs(session, session.scalars(chosen).all())


def delete_over(database: Database, limit_bytes: int) -> Deleted:
    """Delete up to BATCH of the oldest settled jobs with images, until all images take at most `limit_bytes`."""
    with database.read() as session:  # a long sum over all images must not block writers
        excess = (session.scalar(select(func.coalesce(func.sum(Image.bytes), 0))) or 0) - limit_bytes
    if excess <= 0:
        return Deleted(0, [])
    with database.write() as session:
        chosen: list[Job] = []
        for job, size in _oldest_with_images(session):
            chosen.append(job)
            excess -= size
            if excess <= 0:
                break
        return _delete_jobs(session, chosen)


def delete_count(database: Database, days: float) -> int:
    """Count the jobs that repeated calls of `delete_older` would delete."""
    query = select(func.count()).where(Job.completed_at < now() - literal(days * 86400.0), Job.status.in_(SETTLED))
    with database.read() as session:
        return session.scalar(query) or 0


def forget_idempotency_keys(database: Database, older_than_seconds: float) -> int:
    """Delete Idempotency-Keys older than that many seconds; return how many."""
    with database.write() as session:
        old = delete(IdempotencyKey).where(IdempotencyKey.created_at < now() - literal(older_than_seconds))
        return len(session.execute(old.returning(IdempotencyKey.key)).all())


def unknown_keys(database: Database, keys: Collection[str]) -> set[str]:
    """Return those of `keys` that no image row names and no running attempt may still store: their files are orphans."""
    writers = {key: job_and_attempt(key) for key in keys}
    job_ids = {job_id for job_id, _ in writers.values()}
    with database.read() as session:
        # In this order: an attempt that ends in between has written its rows before the second query.
        running = {
            (row.id, row.attempt) for row in session.execute(select(Job.id, Job.attempt).where(RUNNING, Job.id.in_(job_ids)))
        }
        known = set(session.scalars(select(Image.key).where(Image.key.in_(list(keys)))))
    return {key for key, writer in writers.items() if key not in known and writer not in running}


_UPLOAD_COLUMNS = (Job.upload_id, Job.mask_upload_id)


def delete_unused_uploads(database: Database, hours: float) -> list[str]:
    """Delete the rows of up to BATCH uploads that are older and that no job uses; return their storage keys.

    Jobs that have ended count too: they can be retried as long as they are kept.
    """
    unused = [~exists().where(column == Upload.id) for column in _UPLOAD_COLUMNS]
    with database.write() as session:
        old = select(Upload).where(Upload.created_at < now() - literal(hours * 3600.0), *unused)
        chosen = session.scalars(
            old.order_by(Upload.created_at).limit(BATCH).with_for_update(of=Upload, skip_locked=True)
        ).all()
        # On Postgres a job may have been committed while the query ran. With the rows locked, no further job can be.
        ids = [upload.id for upload in chosen]
        taken = {found for column in _UPLOAD_COLUMNS for found in session.scalars(select(column).where(column.in_(ids)))}
        deleted = [upload for upload in chosen if upload.id not in taken]
        delete_uploads(session, deleted)
        return [upload.key for upload in deleted]


def unknown_upload_keys(database: Database, keys: Collection[str]) -> set[str]:
    """Return those of `keys` that no upload's row names."""
    with database.read() as session:
        return set(keys) - set(session.scalars(select(Upload.key).where(Upload.key.in_(list(keys)))))


def _oldest_with_images(session: Session) -> Sequence[tuple[Job, int]]:
    size = select(func.sum(Image.bytes)).where(Image.job_id == Job.id).scalar_subquery()
    has_images = exists().where(Image.job_id == Job.id)
    query = select(Job, size).where(Job.completed_at.is_not(None), Job.status.in_(SETTLED), has_images)
    oldest = query.order_by(Job.completed_at).limit(BATCH).with_for_update(of=Job, skip_locked=True)
    return [(row[0], row[1]) for row in session.execute(oldest)]


def _delete_jobs(session: Session, jobs: Sequence[Job]) -> Deleted:
    by_id, ids = {job.id: job for job in jobs}, [job.id for job in jobs]
    images = session.scalars(delete(Image).where(Image.job_id.in_(ids)).returning(Image)).all()
    change = UsageChange()
    for job in jobs:
        _add_tombstone(session, job.id, "job", job.owner)
        change.subtract_job(job)
    for image in images:
        _add_tombstone(session, image.id, "image", image.owner)
        change.subtract_image(by_id[image.job_id], image)
    # ON DELETE CASCADE deletes the jobs' attempts, events and exclusions.
    session.execute(delete(Job).where(Job.id.in_(ids)))
    rewind_cursor(session)
    change.write(session)
    return Deleted(len(ids), [image.key for image in images])


def _add_tombstone(session: Session, row_id: str, kind: str, owner: str) -> None:
    insert_ignore(session, Tombstone, id=row_id, kind=kind, owner=owner, deleted_at=now())
