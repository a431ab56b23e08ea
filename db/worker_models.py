"""The models that workers serve: their state on each worker, what waits for them, and requests to load or unload them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from sqlalchemy import ColumnElement, String, bindparam, delete, exists, func, literal, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.database import Database
from db.jobs.claim import claimable_by
from db.prepared import Prepared, core_table, detached
from db.size_limits import SizeLimit, fits
from db.sql import QUEUED, RUNNING, insert_rows, now
from db.tables import Job, Worker, WorkerModel

ModelState = Literal["loaded", "loading", "host_memory", "on_disk", "unavailable"]
Request = Literal["load", "unload"]
LIVE_SECONDS = 20.0
"""A worker that was not seen for this long is not counted as a capable worker."""
COUNTED_JOBS = 100
"""Most jobs of a model that are counted: more of them change no decision."""


def serves(model: str | ColumnElement[str] | InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """Return the condition that a row of `Worker` serves this model, loaded or not."""
    # The first half is for workers of an earlier version, which list no models.
    listed = exists().where(WorkerModel.worker == Worker.name, WorkerModel.model == model)
    return or_(Worker.model == model, listed.where(WorkerModel.state != "unavailable"))


def register_models(session: Session, worker: str, models: Sequence[str]) -> None:
    """Replace the list of a worker's models, in the caller's transaction."""
    session.execute(delete(WorkerModel).where(WorkerModel.worker == worker))
    rows = [
        {"worker": worker, "model": model, "position": position, "state": "on_disk"} for position, model in enumerate(models)
    ]
    insert_rows(session, WorkerModel, "state_at", rows)


@dataclass(frozen=True)
class ModelReport:
    """What a worker reports about one of its models."""

    state: ModelState
    message: str | None = None
    load_seconds: float | None = None


def report_models(database: Database, worker: str, incarnation: str, reports: Mapping[str, ModelReport]) -> None:
    """Write the state of these models of a worker; nothing when a newer process has its name."""
    own = exists().where(Worker.name == worker, Worker.incarnation == incarnation)
    with database.write() as session:
        for model, report in sorted(reports.items()):
            values = {"state": report.state, "message": report.message, "load_seconds": report.load_seconds}
            row = (WorkerModel.worker == worker, WorkerModel.model == model, own)
            session.execute(update(WorkerModel).where(*row).values(**values, state_at=now()))


def models_by_worker(database: Database) -> dict[str, list[WorkerModel]]:
    """Return worker name -> its models, the default first."""
    found: dict[str, list[WorkerModel]] = {}
    with database.read_rows() as connection:
        for row in _models().rows(connection, {}):
            found.setdefault(row["worker"], []).append(detached(WorkerModel, row))
    return found


@cache
def _models() -> Prepared:
    return Prepared(select(core_table(WorkerModel)).order_by(WorkerModel.worker, WorkerModel.position))


@dataclass(frozen=True)
class Waiting:
    """Queued jobs of one model that a worker may claim now, at most COUNTED_JOBS; how long the longest of them waits."""

    jobs: int
    oldest_seconds: float


def waiting_for(
    database: Database, worker: str, models: Collection[str], sizes: Callable[[str], SizeLimit | None] = lambda _: None
) -> dict[str, Waiting]:
    """Return model -> the jobs that wait; models without any are left out. `sizes`: what the worker can hold, by model."""
    found: dict[str, Waiting] = {}
    with database.read() as session:
        for model in models:
            limit = sizes(model)
            first = (
                select(Job.available_at)
                .where(QUEUED, Job.model == model, *claimable_by(worker), *((fits(),) if limit is not None else ()))
                .order_by(Job.priority.desc(), Job.turn, Job.id)
                .limit(COUNTED_JOBS)
                .subquery()
            )
            query = select(func.count(), now() - func.min(first.c.available_at))
            jobs, seconds = session.execute(query, limit.parameters if limit is not None else {}).one()
            if jobs:
                found[model] = Waiting(jobs, max(float(seconds), 0.0))
    return found


@dataclass(frozen=True)
class Holder:
    """Another live worker that has a model loaded or is loading it since `since`, by the database's clock."""

    worker: str
    model: str
    state: ModelState
    since: float
    is_idle: bool


def held_by_others(database: Database, worker: str, models: Collection[str], seen_seconds: float) -> list[Holder]:
    """List the live workers besides this one that have one of these models loaded or are loading it."""
    busy = exists().where(RUNNING, Job.worker == WorkerModel.worker)
    query = (
        select(WorkerModel.worker, WorkerModel.model, WorkerModel.state, WorkerModel.state_at, ~busy)
        .join(Worker, Worker.name == WorkerModel.worker)
        .where(
            WorkerModel.worker != worker,
            WorkerModel.model.in_(models),
            WorkerModel.state.in_(("loaded", "loading")),
            Worker.seen_at > now() - literal(seen_seconds),
            Worker.state.in_(("loading", "ready")),
            Worker.paused_at.is_(None),
            Worker.drain_requested_at.is_(None),
        )
        .order_by(WorkerModel.worker)
    )
    with database.read() as session:
        return [
            Holder(name, model, "loaded" if state == "loaded" else "loading", since, bool(is_idle))
            for name, model, state, since, is_idle in session.execute(query)
        ]


def request_model(database: Database, model: str, workers: Collection[str], request: Request) -> None:
    """Ask these workers to load or to release a model; the later request counts."""
    loads = request == "load"
    values = {"load_requested_at": now() if loads else None, "unload_requested_at": None if loads else now()}
    with database.write() as session:
        session.execute(
            update(WorkerModel).where(WorkerModel.model == model, WorkerModel.worker.in_(workers)).values(**values)
        )


def requests_to(database: Database, worker: str) -> dict[str, Request]:
    """Return model -> what an administrator asked this worker to do with it, the latest request last."""
    with database.read_rows() as connection:
        rows = _requests().rows(connection, {"of_worker": worker})
    return {row["model"]: "unload" if row["load_requested_at"] is None else "load" for row in rows}


@cache
def _requests() -> Prepared:
    asked_at = func.coalesce(WorkerModel.load_requested_at, WorkerModel.unload_requested_at)
    query = select(WorkerModel.model, WorkerModel.load_requested_at)
    of_worker = WorkerModel.worker == bindparam("of_worker", type_=String())
    return Prepared(query.where(of_worker, asked_at.is_not(None)).order_by(asked_at))


def clear_request(database: Database, worker: str, model: str, request: Request) -> None:
    """Clear a request that was handled; a later one of the other kind stays."""
    column = WorkerModel.load_requested_at if request == "load" else WorkerModel.unload_requested_at
    with database.write() as session:
        row = (WorkerModel.worker == worker, WorkerModel.model == model)
        session.execute(update(WorkerModel).where(*row).values({column: None}))
