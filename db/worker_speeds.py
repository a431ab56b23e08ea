"""What workers know of each other's speed: faster ones, and whether an idle one is fast enough to be left a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from sqlalchemy import ColumnElement, Double, Executable, Integer, String, bindparam, exists, func, literal, or_, select

from db.database import Database
from db.jobs.claim import claimable_by
from db.jobs.finish import LIVE_SECONDS
from db.prepared import Prepared
from db.quarantine import excludes, is_on_probation
from db.size_limits import SizeLimit, fits, fits_on_worker
from db.sql import QUEUED, RUNNING, now
from db.tables import Job, JobExclusion, Worker

MOST_FASTER = 16


@dataclass(frozen=True)
class SpeedRow:
    """`seconds`: for a megapixel and a step of an image alone. `images`: finished by its engine. `running`: jobs held."""

    name: str
    seconds: float
    images: int
    running: int


def idle_worker_exists(database: Database, model: str, besides: str, slowest: float | None = None) -> bool:
    """Return whether a worker other than `besides` has this model loaded and holds no job.

    `slowest`: seconds for a megapixel and a step; a worker that takes more does not count, one that was not measured does.
    """
    parameters = {"of_model": model, "besides": besides} | ({} if slowest is None else {"slowest": slowest})
    with database.read_rows() as connection:
        return bool(_idle_others(slowest is not None).rows(connection, parameters))


@cache
def _idle_others(is_limited: bool) -> Prepared:
    # One list for all workers: Postgres would go through the running jobs again for each worker.
    busy = select(Job.worker).where(RUNNING, Job.worker.is_not(None))
    query = select(Worker.name).where(*_ready_others(), Worker.name.not_in(busy)).limit(1)
    slow_enough = or_(Worker.alone_seconds.is_(None), Worker.alone_seconds <= bindparam("slowest", type_=Double()))
    return Prepared(query.where(slow_enough) if is_limited else query)


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
        .where(*_ready_others(), Worker.alone_seconds < bindparam("seconds", type_=Double()), ~excluded, ~too_large)
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


def _ready_others() -> tuple[ColumnElement[bool], ...]:
    return (
        Worker.model == bindparam("of_model", type_=String()),
        Worker.name != bindparam("besides", type_=String()),
        Worker.state == "ready",
        Worker.paused_at.is_(None),
        Worker.drain_requested_at.is_(None),
        ~is_on_probation(),
        Worker.seen_at > now() - literal(LIVE_SECONDS / 2),
    )
