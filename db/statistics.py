"""Statistics of the queue: open jobs, and durations of recent jobs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from statistics import fmean

from sqlalchemy import String, bindparam, case, func, literal_column, select

from core.lifecycle import OPEN, JobStatus
from core.work import LEAST_PIXELS, work_of
from db.database import Database
from db.prepared import Prepared
from db.sql import QUEUED, has_status, now
from db.tables import Job

_RECENT = 20
MOST_WAITING = 100
_SIZE = ("width", "height", "num_inference_steps", "num_images")


def count_open(database: Database, owner: str, face: str) -> int:
    """Count an owner's queued and running jobs of one face."""
    query = select(func.count()).select_from(Job).where(Job.owner == owner, Job.face == face)
    with database.read() as session:
        return sum(session.scalar(query.where(has_status(status))) or 0 for status in (JobStatus.QUEUED, JobStatus.RUNNING))


def open_counts(database: Database) -> dict[str, dict[str, int]]:
    """Return model -> status -> number of queued, running and held jobs."""
    found: dict[str, dict[str, int]] = {}
    with database.read_rows() as connection:
        for status in OPEN:
            for row in _count_of(status).rows(connection, {}):
                found.setdefault(row["model"], {})[status] = row["counted"]
    return found


@cache
def _count_of(status: JobStatus) -> Prepared:
    """Return the statement for one status: IN would not use the partial indexes."""
    counted = func.count().label("counted")
    return Prepared(select(Job.model, counted).where(has_status(status)).group_by(Job.model))


@dataclass(frozen=True)
class RecentMean:
    """Means over a model's last succeeded jobs. `seconds`: from start to end. `work`: as in core.work; None if unknown."""

    seconds: float
    work: float | None


def recent_means(database: Database) -> Mapping[str, RecentMean]:
    """Return model -> means over its last succeeded jobs; models without any are left out."""
    width, height, steps, images = (Job.input[name].as_integer() for name in _SIZE)
    pixels = case((width * height < LEAST_PIXELS, LEAST_PIXELS), else_=width * height)
    work = 1e-6 * pixels * func.coalesce(steps, 1) * func.coalesce(images, 1)
    last = (
        select(Job.model, (Job.completed_at - Job.started_at).label("seconds"), work.label("work"))
        .where(has_status(JobStatus.SUCCEEDED), Job.started_at.is_not(None))
        .order_by(Job.id.desc())
        .limit(_RECENT * 5)
        .subquery()
    )
    query = select(last.c.model, func.avg(last.c.seconds), func.avg(last.c.work)).group_by(last.c.model)
    with database.read() as session:
        rows = session.execute(query).all()
        return {
            model: RecentMean(float(each), float(work) if work else None) for model, each, work in rows if each is not None
        }


@dataclass(frozen=True)
class Waiting:
    """The next queued jobs of a model, of which MOST_WAITING are read. `work`: their mean, as in core.work; 0 if unknown."""

    jobs: int
    work: float


def waiting_work(database: Database, models: Collection[str]) -> Mapping[str, Waiting]:
    """Return model -> its next queued jobs; models without any are left out."""
    found = {}
    with database.read_rows() as connection:
        for model in models:
            works = [work_of(row) for row in _next_queued().rows(connection, {"of_model": model})]
            if works:
                found[model] = Waiting(len(works), fmean(works))
    return found


@cache
def _next_queued() -> Prepared:
    sizes = (Job.input[name].as_integer().label(name) for name in _SIZE)
    query = select(*sizes).where(QUEUED, Job.model == bindparam("of_model", type_=String()))
    return Prepared(query.order_by(Job.priority.desc(), Job.turn, Job.id).limit(literal_column(str(MOST_WAITING))))


def oldest_queued(database: Database) -> dict[str, float]:
    """Return model -> seconds since its oldest queued job was submitted."""
    query = select(Job.model, now() - func.min(Job.created_at)).where(QUEUED)
    with database.read() as session:
        return {model: max(float(seconds), 0.0) for model, seconds in session.execute(query.group_by(Job.model))}
