"""A job with what belongs to it, read for showing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.lifecycle import JobStatus
from db.database import Database
from db.jobs.read import find_job, images_of, position_in
from db.tables import Image, Job


@dataclass(frozen=True)
class Snapshot:
    """`images` are there once it has succeeded, `position` while it is queued (from 1, among the jobs of its model)."""

    job: Job
    images: Sequence[Image] = ()
    position: int | None = None


def read_snapshot(database: Database, job_id: str, owner: str | None = None) -> Snapshot:
    """Raises NotFound or Gone as `get_job` does."""
    with database.read() as session:
        return _complete(session, find_job(session, job_id, owner))


def snapshot_of(database: Database, job: Job) -> Snapshot:
    """The rest of a job that has just been read."""
    with database.read() as session:
        return _complete(session, job)


def _complete(session: Session, job: Job) -> Snapshot:
    if job.status != JobStatus.SUCCEEDED:
        return Snapshot(job, position=position_in(session, job))
    images = session.scalars(select(Image).where(Image.job_id == job.id).order_by(Image.index))
    return Snapshot(job, images.all())


def snapshots_of(database: Database, jobs: Sequence[Job]) -> list[Snapshot]:
    """As `snapshot_of` for a page of jobs, in one query; positions are left out."""
    done = [job.id for job in jobs if job.status == JobStatus.SUCCEEDED]
    images: dict[str, list[Image]] = {}
    for image in images_of(database, done) if done else []:
        images.setdefault(image.job_id, []).append(image)
    return [Snapshot(job, images.get(job.id, ())) for job in jobs]
