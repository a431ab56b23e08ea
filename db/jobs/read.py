"""Read jobs: rows, snapshots with images, revisions, queue positions, replays of idempotent submits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, func, or_, select, tuple_
from sqlalchemy.orm import Session

from core.errors import Gone, NotFound
from core.lifecycle import JobStatus
from db.database import Database
from db.jobs.submit import Submitted
from db.sql import QUEUED, has_status
from db.tables import Attempt, IdempotencyKey, Image, Job, JobEvent, Tombstone

POSITION_CAP = 1000


def get_job(database: Database, job_id: str, owner: str | None = None) -> Job:
    """The job; NotFound when there is none (or not this owner's), Gone when it has been deleted."""
    with database.read() as session:
        return find_job(session, job_id, owner)


def find_job(session: Session, job_id: str, owner: str | None = None, *, lock: bool = False) -> Job:
    """As `get_job`, inside the caller's session; `lock` keeps others from changing it until the transaction ends."""
    job = session.get(Job, job_id, with_for_update=True if lock else None, populate_existing=lock)
    if job is not None and owner in (None, job.owner):
        return job
    if job is None:
        raise_if_gone(session, job_id, "job", owner)
    raise NotFound(f"There is no job {job_id}.", code="job_not_found")


def raise_if_gone(session: Session, row_id: str, kind: str, owner: str | None) -> None:
    """Raises Gone when a tombstone of that kind is there and this owner may know of it."""
    stone = session.get(Tombstone, row_id)
    if stone is not None and stone.kind == kind and owner in (None, stone.owner):
        raise Gone(f"The {kind} {row_id} has been deleted.", code=f"{kind}_gone")


def images_of(database: Database, job_ids: Sequence[str]) -> list[Image]:
    """The stored images of these jobs, in order of job and index."""
    with database.read() as session:
        return list(session.scalars(select(Image).where(Image.job_id.in_(job_ids)).order_by(Image.job_id, Image.index)))


def attempts_of(database: Database, job_id: str) -> list[Attempt]:
    """The job's attempts, first to last."""
    with database.read() as session:
        return list(session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)))


def events_of(database: Database, job_id: str) -> list[JobEvent]:
    """The job's history, oldest first."""
    with database.read() as session:
        return list(session.scalars(select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.id)))


def list_jobs(
    database: Database,
    *,
    owner: str | None = None,
    statuses: Sequence[JobStatus] = (),
    model: str | None = None,
    conditions: Sequence[ColumnElement[bool]] = (),
    before: str | None = None,
    limit: int = 50,
) -> list[Job]:
    """Newest first; `before` is the id of the last job of the page before, `conditions` narrow further."""
    query = select(Job).order_by(Job.id.desc()).limit(limit)
    query = query.where(Job.owner == owner) if owner is not None else query
    query = query.where(or_(*(has_status(status) for status in statuses))) if statuses else query
    query = query.where(Job.model == model) if model is not None else query
    query = query.where(*conditions)
    query = query.where(Job.id < before) if before is not None else query
    with database.read() as session:
        return list(session.scalars(query))


def queue_position(database: Database, job: Job) -> int | None:
    """How many jobs of its model will be claimed before this one, plus one; None when it is not queued.

    Counted up to POSITION_CAP: a position of POSITION_CAP + 1 means that far back, or farther.
    """
    with database.read() as session:
        return position_in(session, job)


def position_in(session: Session, job: Job) -> int | None:
    """As `queue_position`, in the caller's session."""
    if job.status != JobStatus.QUEUED:
        return None
    more_urgent = Job.priority > job.priority
    same_lane = (Job.priority == job.priority) & (tuple_(Job.turn, Job.id) < tuple_(job.turn, job.id))
    # Two index ranges, each counted to its end or to the cap: one range with OR would walk the whole queue.
    ahead = sum(session.scalars(_count_to_cap(job.model, range_)).one() for range_ in (more_urgent, same_lane))
    return min(ahead, POSITION_CAP) + 1


def _count_to_cap(model: str, range_: ColumnElement[bool]) -> Select[int]:
    ahead = select(Job.id).where(QUEUED, Job.model == model, range_).limit(POSITION_CAP)
    return select(func.count()).select_from(ahead.subquery())


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


def find_replay(database: Database, owner: str, key: str, request_hash: str) -> Submitted | None:
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
