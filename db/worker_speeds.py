"""What workers know of each other's speed: faster ones, and whether an idle one is fast enough to be left a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from sqlalchemy import (
    ColumnElement,
    Double,
    Executable,
    Integer,
    String,
    bindparam,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
)

from db.database import Database
from db.jobs.claim import claimable_by
from db.prepared import Prepared, core_table
from db.quarantine import excludes, is_on_probation
from db.size_limits import SizeLimit, fits, fits_on_worker
from db.sql import QUEUED, RUNNING, now
from db.tables import Job, JobExclusion, Worker
from db.worker_models import LIVE_SECONDS

MOST_FASTER = 16
MOST_IDLE = 16
MOST_NEXT = 16
"""Waiting jobs of which an idle worker must be able to take one."""


@dataclass(frozen=True)
class SpeedRow:
    """`seconds`: for a megapixel and a step of an image alone. `images`: finished by its engine. `running`: jobs held."""

    name: str
    seconds: float
    images: int
    running: int


@dataclass(frozen=True)
class IdleWorker:
    """`seconds`: for a megapixel and a step of an image alone; None: not measured."""

    name: str
    seconds: float | None


def idle_workers(database: Database, model: str) -> list[IdleWorker]:
    """List workers that have this model loaded and hold no job: those that were not measured, then the fastest.

    At most MOST_IDLE: who asks looks for one besides itself. While jobs wait, workers that may take none of the next ones,
    being excluded from them or too small, are left out: another one must take these.
    """
    with database.read_rows() as connection:
        rows = _idle().rows(connection, {"of_model": model})
    return [IdleWorker(row["name"], row["alone_seconds"]) for row in rows]


@cache
def _idle() -> Prepared:
    table = core_table(Worker)
    # One list for all workers: Postgres would go through the running jobs again for each worker.
    busy = select(Job.worker).where(RUNNING, Job.worker.is_not(None))
    query = select(table.c.name, table.c.alone_seconds).where(*_ready(), Worker.name.not_in(busy), _may_take_one())
    return Prepared(query.order_by(table.c.alone_seconds.nulls_first(), table.c.name).limit(MOST_IDLE))


def _may_take_one() -> ColumnElement[bool]:
    """Match a worker that may take one of the next jobs, and any worker where none waits."""
    waiting = (
        select(Job.id)
        .where(QUEUED, Job.model == bindparam("of_model", type_=String()), Job.available_at <= now())
        .order_by(Job.priority.desc(), Job.turn, Job.id)
        .limit(literal_column(str(MOST_NEXT)))
        .cte("waiting")
    )
    excluded = exists().where(JobExclusion.job_id == Job.id, JobExclusion.worker == Worker.name, excludes())
    is_excluded = excluded.correlate(Job, Worker)  # by itself SQLAlchemy looks one level up
    takes = exists().where(Job.id.in_(select(waiting.c.id)), ~is_excluded, fits_on_worker())
    return or_(~exists(select(waiting.c.id)), takes)


def faster_workers(database: Database, model: str, besides: str, seconds: float, job: str | None) -> Sequence[SpeedRow]:
    """List ready workers that have the model loaded and take fewer `seconds` for a megapixel and a step, fastest first.

    Those that may not claim `job`, or report that its images do not fit, are left out.
    """
    parameters = {"of_model": model, "besides": besides, "seconds": seconds, "of_job": job or ""}
    with database.read() as session:
        rows = session.connection().execute(_faster(), parameters).all()
        return [SpeedRow(name, float(each), images or 0, running) for name, each, images, running in rows]


@cache
def _faster() -> Executable:
    running = select(func.count()).where(RUNNING, Job.worker == Worker.name).correlate(Worker).scalar_subquery()
    of_job = bindparam("of_job", type_=String())
    excluded = exists().where(JobExclusion.job_id == of_job, JobExclusion.worker == Worker.name, excludes())
    too_large = exists().where(Job.id == of_job, ~fits_on_worker())
    images = Worker.info["speed"]["images"].as_integer()
    return (
        select(Worker.name, Worker.alone_seconds, images, running)
        .where(
            *_ready(),
            Worker.name != bindparam("besides", type_=String()),
            Worker.alone_seconds < bindparam("seconds", type_=Double()),
            ~excluded,
            ~too_large,
        )
        .order_by(Worker.alone_seconds, Worker.name)
        .limit(MOST_FASTER)
    )


def waiting_jobs(database: Database, model: str, worker: str, at_most: int, sizes: SizeLimit | None = None) -> list[str]:
    """List the ids of the next jobs that a worker may claim and can hold, best first."""
    parameters = {"of_model": model, "worker": worker, "at_most": at_most}
    if sizes is not None:
        parameters |= sizes.parameters
    with database.read() as session:
        return [job for (job,) in session.connection().execute(_waiting(sizes is not None), parameters)]


@cache
def _waiting(has_limit: bool) -> Executable:
    worker = bindparam("worker", type_=String())
    fitting = (fits(),) if has_limit else ()
    return (
        select(Job.id)
        .where(QUEUED, Job.model == bindparam("of_model", type_=String()), *claimable_by(worker), *fitting)
        .order_by(Job.priority.desc(), Job.turn, Job.id)
        .limit(bindparam("at_most", type_=Integer()))
    )


def _ready() -> tuple[ColumnElement[bool], ...]:
    return (
        Worker.model == bindparam("of_model", type_=String()),
        Worker.state == "ready",
        Worker.paused_at.is_(None),
        Worker.drain_requested_at.is_(None),
        ~is_on_probation(),
        Worker.seen_at > now() - literal(LIVE_SECONDS / 2),
    )
