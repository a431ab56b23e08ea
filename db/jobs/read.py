"""Read jobs: rows, snapshots with images, revisions, queue positions, replays of idempotent submits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    ScalarSelect,
    String,
    bindparam,
    func,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy.orm import Session

from core.errors import Gone, NotFound
from core.lifecycle import JobKind, JobStatus
from core.queue import JobChange
from db.database import Database
from db.jobs.submit import Submitted
from db.prepared import Prepared, Transaction, core_table, detached
from db.quarantine import excluded_from
from db.sql import QUEUED, has_status
from db.tables import Attempt, IdempotencyKey, Image, Job, JobEvent, Tombstone

POSITION_CAP = 1000


def get_job(database: Database, job_id: str, owner: str | None = None) -> Job:
    """Return the job. Raises NotFound if it does not exist or is another owner's, Gone if it was deleted."""
    with database.read() as session:
        return find_job(session, job_id, owner)


def find_job(session: Session, job_id: str, owner: str | None = None, *, lock: bool = False) -> Job:
    """Return the job like `get_job`, in the caller's session; `lock` locks its row until the transaction ends."""
    job = session.get(Job, job_id, with_for_update=True if lock else None, populate_existing=lock)
    if job is not None and owner in (None, job.owner):
        return job
    if job is None:
        raise_if_deleted(session, job_id, "job", owner)
    raise NotFound(f"There is no job {job_id}.", code="job_not_found")


def raise_if_deleted(session: Session, row_id: str, kind: str, owner: str | None) -> None:
    """Raise Gone when there is a tombstone of that kind that this owner may see."""
    tombstone = session.get(Tombstone, row_id)
    if tombstone is not None and tombstone.kind == kind and owner in (None, tombstone.owner):
        raise Gone(f"The {kind} {row_id} has been deleted.", code=f"{kind}_gone")


def queued_seconds(job: Job, end: float) -> float:
    """Return how long the latest attempt waited for a worker: from `available_at` to its claim, or to `end` before that.

    `end` is in seconds since 1970. Earlier attempts and the backoff of a retry do not count.
    """
    if job.started_at is not None and job.started_at >= job.available_at:
        end = job.started_at
    return max(end - job.available_at, 0.0)


def images_of(database: Database, job_ids: Sequence[str]) -> list[Image]:
    """Return the stored images of these jobs, ordered by job and index."""
    with database.read() as session:
        return list(session.scalars(select(Image).where(Image.job_id.in_(job_ids)).order_by(Image.job_id, Image.index)))


def attempts_of(database: Database, job_id: str) -> list[Attempt]:
    """Return the job's attempts, first to last."""
    with database.read() as session:
        return list(session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)))


def events_of(database: Database, job_id: str) -> list[JobEvent]:
    """Return the job's history, oldest first."""
    with database.read() as session:
        return list(session.scalars(select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.id)))


def list_jobs(
    database: Database,
    *,
    owner: str | None = None,
    statuses: Sequence[JobStatus] = (),
    model: str | None = None,
    kind: JobKind | None = None,
    conditions: Sequence[ColumnElement[bool]] = (),
    before: str | None = None,
    limit: int = 50,
) -> list[Job]:
    """List jobs, newest first; `before` is the id of the last job of the previous page."""
    wanted = list(conditions)
    wanted += [Job.owner == owner] if owner is not None else []
    wanted += [Job.model == model] if model is not None else []
    wanted += [Job.kind == kind.value] if kind is not None else []
    wanted += [Job.id < before] if before is not None else []
    with database.read() as session:
        if len(each_once := list(dict.fromkeys(statuses))) > 1:
            return _newest_of(session, each_once, wanted, limit)
        wanted += [has_status(status) for status in each_once]
        return list(session.scalars(select(Job).where(*wanted).order_by(Job.id.desc()).limit(limit)))


def _newest_of(
    session: Session, statuses: Sequence[JobStatus], wanted: Sequence[ColumnElement[bool]], limit: int
) -> list[Job]:
    """List the newest jobs in one of several statuses: one query each, as no index serves OR in the order of ids."""
    ids: list[str] = []
    for status in statuses:
        newest = select(Job.id).where(has_status(status), *wanted).order_by(Job.id.desc()).limit(limit)
        ids += session.scalars(newest)
    chosen = sorted(ids, reverse=True)[:limit]
    jobs = select(Job).where(Job.id.in_(chosen), Job.status.in_(statuses)).order_by(Job.id.desc())
    return list(session.scalars(jobs))


def queue_position(database: Database, job: Job) -> int | None:
    """Count the jobs of its model that will be claimed before this one, plus one; None when it is not queued.

    POSITION_CAP + 1 means that position or a later one.
    """
    with database.read() as session:
        return position_in(session, job)


def position_in(session: Transaction, job: Job) -> int | None:
    """Return the position like `queue_position`, in the caller's transaction."""
    if job.status != JobStatus.QUEUED:
        return None
    lane = {"of_model": job.model, "of_priority": job.priority, "of_turn": job.turn, "of_id": job.id}
    (counted,) = _jobs_ahead().rows(session, lane)
    return min(int(counted["ahead"]), POSITION_CAP) + 1


@cache
def _jobs_ahead() -> Prepared:
    priority, turn = bindparam("of_priority", type_=Integer()), bindparam("of_turn", type_=BigInteger())
    more_urgent = Job.priority > priority
    same_lane = (Job.priority == priority) & (tuple_(Job.turn, Job.id) < tuple_(turn, bindparam("of_id", type_=String())))
    # Count two index ranges, each up to the cap: one range with OR would scan the whole queue.
    return Prepared(select((_count_to_cap(more_urgent) + _count_to_cap(same_lane)).label("ahead")))


def _count_to_cap(range_: ColumnElement[bool]) -> ScalarSelect[int]:
    model = bindparam("of_model", type_=String())
    ahead = select(Job.id).where(QUEUED, Job.model == model, range_).limit(literal_column(str(POSITION_CAP)))
    return select(func.count()).select_from(ahead.subquery()).scalar_subquery()


@dataclass(frozen=True)
class Snapshot:
    """A job with its images, once it has succeeded, or its position (from 1, within its model), while it is queued.

    `excluded`: the workers that may not claim it now, with the error code of each.
    """

    job: Job
    images: Sequence[Image] = ()
    position: int | None = None
    excluded: Mapping[str, str] = field(default_factory=dict)


def read_snapshot(database: Database, job_id: str, owner: str | None = None) -> Snapshot:
    """Read a job with its images or position. Raises NotFound or Gone like `get_job`. Its rows belong to no session."""
    with database.read_rows() as connection:
        rows = _job().rows(connection, {"of_id": job_id})
        if rows and owner in (None, rows[0]["owner"]):
            job = detached(Job, rows[0])
            if job.status != JobStatus.SUCCEEDED:
                return _unfinished(connection, job)
            return Snapshot(job, [detached(Image, row) for row in _images().rows(connection, {"of_job": job_id})])
    return Snapshot(get_job(database, job_id, owner))


def _unfinished(transaction: Transaction, job: Job) -> Snapshot:
    """Return a job without images; only one that has had an attempt can have exclusions."""
    tried = job.status == JobStatus.QUEUED and job.attempt > 0
    excluded = excluded_from(transaction, job.id) if tried else {}
    return Snapshot(job, position=position_in(transaction, job), excluded=excluded)


@cache
def _job() -> Prepared:
    table = core_table(Job)
    return Prepared(select(table).where(table.c.id == bindparam("of_id", type_=String())))


@cache
def _images() -> Prepared:
    table = core_table(Image)
    return Prepared(select(table).where(table.c.job_id == bindparam("of_job", type_=String())).order_by(table.c.index))


def snapshot_of(database: Database, job: Job) -> Snapshot:
    """Read the images or the position of a job that has just been read."""
    with database.read() as session:
        return _snapshot(session, job)


def _snapshot(session: Session, job: Job) -> Snapshot:
    if job.status != JobStatus.SUCCEEDED:
        return _unfinished(session, job)
    images = session.scalars(select(Image).where(Image.job_id == job.id).order_by(Image.index))
    return Snapshot(job, images.all())


def snapshots_of(database: Database, jobs: Sequence[Job]) -> list[Snapshot]:
    """Read the images of a page of jobs in one query; positions are left out."""
    done = [job.id for job in jobs if job.status == JobStatus.SUCCEEDED]
    images: dict[str, list[Image]] = {}
    for image in images_of(database, done) if done else []:
        images.setdefault(image.job_id, []).append(image)
    return [Snapshot(job, images.get(job.id, ())) for job in jobs]


_CHUNK = 500


def change_of(job: Job) -> JobChange:
    """Return what to tell others after a commit that changed the job."""
    return JobChange(job.id, job.revision, job.status, bool(job.requested.get("webhook")))


def revisions_of(database: Database, job_ids: Sequence[str]) -> list[tuple[str, int, str]]:
    """Return (id, revision, status) of those jobs that exist, in few queries."""
    found: list[tuple[str, int, str]] = []
    with database.read() as session:
        for start in range(0, len(job_ids), _CHUNK):
            chunk = job_ids[start : start + _CHUNK]
            query = select(Job.id, Job.revision, Job.status).where(Job.id.in_(chunk))
            found += [(row.id, row.revision, row.status) for row in session.execute(query)]
    return found


def find_replay(database: Database, owner: str, key: str, request_hash: str) -> Submitted | None:
    """Return the job and answer of this key and body; None when there is none (`submit` then raises the reason).

    Allows a repeated request whose body would not be accepted as a new one any longer.
    """
    with database.read() as session:
        row = session.get(IdempotencyKey, (owner, key))
        if row is None or row.request_hash != request_hash:
            return None
        job = session.get(Job, row.job_id)
        return None if job is None else Submitted(job, hint=False, replayed=True, answer=row.answer)


def job_of_key(database: Database, owner: str, key: str) -> Job | None:
    """Return the job that was submitted under this key, if any."""
    with database.read() as session:
        row = session.get(IdempotencyKey, (owner, key))
        return session.get(Job, row.job_id) if row is not None else None
