"""Register workers, record their heartbeats, and list live ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, String, and_, bindparam, func, literal, or_, select, update

from core.errors import Conflict, NotFound
from db.database import Database
from db.jobs.reap import requeue_predecessors
from db.prepared import Prepared, core_table, detached
from db.quarantine import end_quarantine
from db.sql import RUNNING, insert_ignore, now
from db.tables import Job, Worker
from db.worker_models import LIVE_SECONDS, register_models, serves

_LIVE = "is_live"
LIVE_STATES = ("loading", "ready", "blocked", "unloaded", "draining")


@dataclass(frozen=True)
class Registration:
    """What a worker reports at its start. `models`: all that it serves; empty: `model` alone."""

    name: str
    incarnation: str
    model: str
    device: str
    capacity: int
    models: tuple[str, ...] = ()
    host: str | None = None
    version: str | None = None


class NameInUse(Conflict):
    """Another process has this worker's name and was seen lately."""

    code = "worker_name_taken"


def alone_seconds_of(info: Mapping[str, Any]) -> float | None:
    """Return the seconds for a megapixel and a step of an image alone, of an engine's report; None until measured."""
    found: float | None = info.get("speed", {}).get("alone_seconds_per_megapixel_step")
    return found


def register(
    database: Database, worker: Registration, *, replaces: Collection[str] = (), seen_seconds: float = LIVE_SECONDS
) -> list[Job]:
    """Register a new process of this worker; requeue and return the jobs that an earlier one of that name still holds.

    Raises NameInUse while the earlier one has not stopped and was seen in the last `seen_seconds`, unless its
    incarnation is among `replaces`, which the caller knows to be dead.
    """
    values: dict[str, Any] = {
        "incarnation": worker.incarnation,
        "model": worker.model,
        "state": "loading",
        "message": None,
        "capacity": worker.capacity,
        "device": worker.device,
        "host": worker.host,
        "version": worker.version,
        "drain_requested_at": None,
        "started_at": now(),
        "seen_at": now(),
        "alone_seconds": None,
    }
    with database.write() as session:
        if not insert_ignore(session, Worker, name=worker.name, paused_at=None, info={}, **values):
            replaceable = or_(
                Worker.incarnation.in_([*replaces, worker.incarnation]),
                Worker.state == "stopped",
                Worker.seen_at <= now() - literal(seen_seconds),
            )
            kept = _kept_info(session.scalar(select(Worker.info).where(Worker.name == worker.name)) or {})
            replaced = update(Worker).where(Worker.name == worker.name, replaceable).values(**values, info=kept)
            if session.scalar(replaced.returning(Worker.name)) is None:
                raise NameInUse(f"A live worker is named '{worker.name}'.")
        register_models(session, worker.name, worker.models or (worker.model,))
        return requeue_predecessors(session, worker.name)


def _kept_info(earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an earlier process of a worker measured that holds for the next one until that has measured it itself."""
    return {name: earlier[name] for name in ("cold_start_seconds",) if name in earlier}


def heartbeat(
    database: Database,
    name: str,
    incarnation: str,
    *,
    state: str,
    message: str | None = None,
    capacity: int | None = None,
    info: Mapping[str, Any] | None = None,
    model: str | None = None,
) -> Worker | None:
    """Record that the worker is alive; None: a newer process has registered under that name and this one must stop.

    Not durable on SQLite: a power cut ends the worker, too.
    """
    values: dict[str, Any] = {"state": state, "message": message}
    values |= {} if capacity is None else {"capacity": capacity}
    values |= {} if info is None else {"info": dict(info), "alone_seconds": alone_seconds_of(info)}
    values |= {} if model is None else {"model": model}
    parameters = {"of_worker": name, "of_incarnation": incarnation, **{f"new_{key}": each for key, each in values.items()}}
    with database.write_rows(durable=False, separate=True) as connection:
        rows = _heartbeat(tuple(values)).rows(connection, parameters)
    return detached(Worker, rows[0]) if rows else None


@cache
def _heartbeat(names: tuple[str, ...]) -> Prepared:
    table = core_table(Worker)
    values = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in names}
    this = (
        table.c.name == bindparam("of_worker", type_=String()),
        table.c.incarnation == bindparam("of_incarnation", type_=String()),
    )
    return Prepared(update(table).where(*this).values(seen_at=now(), **values).returning(table))


def live_workers(database: Database, model: str | None = None) -> list[Worker]:
    """List workers that were seen lately and have not stopped or failed, by name; with `model` those that serve it."""
    with database.read_rows() as connection:
        rows = _live(model is not None).rows(connection, {} if model is None else {"of_model": model})
    return [detached(Worker, row) for row in rows]


@cache
def _live(of_model: bool) -> Prepared:
    query = select(core_table(Worker)).where(*_is_live()).order_by(Worker.name)
    return Prepared(query.where(serves(bindparam("of_model", type_=String()))) if of_model else query)


def _is_live() -> tuple[ColumnElement[bool], ...]:
    return Worker.seen_at > now() - literal(LIVE_SECONDS), Worker.state.in_(LIVE_STATES)


def all_workers(database: Database) -> list[Worker]:
    """List all registered workers, by name."""
    return [worker for worker, _ in workers_and_live(database)]


def workers_and_live(database: Database) -> list[tuple[Worker, bool]]:
    """List all registered workers, by name, each with whether `live_workers` lists it."""
    with database.read_rows() as connection:
        rows = _all().rows(connection, {})
    live = [bool(row.pop(_LIVE)) for row in rows]
    return [(detached(Worker, row), is_live) for row, is_live in zip(rows, live, strict=True)]


@cache
def _all() -> Prepared:
    return Prepared(select(core_table(Worker), and_(*_is_live()).label(_LIVE)).order_by(Worker.name))


def running_counts(database: Database) -> dict[str, int]:
    """Return worker name -> number of jobs that it holds now."""
    return {name: count for name, (count, _) in running_jobs(database).items()}


def running_jobs(database: Database) -> dict[str, tuple[int, float]]:
    """Return worker name -> number of jobs that it holds now, and the mean of the seconds for which they have run."""
    with database.read_rows() as connection:
        rows = _running().rows(connection, {})
    return {row["worker"]: (row["jobs"], max(float(row["seconds"] or 0.0), 0.0)) for row in rows}


@cache
def _running() -> Prepared:
    seconds = func.avg(now() - Job.started_at)
    query = select(Job.worker, func.count().label("jobs"), seconds.label("seconds"))
    return Prepared(query.where(RUNNING, Job.worker.is_not(None)).group_by(Job.worker))


def set_paused(database: Database, name: str, *, paused: bool) -> Worker:
    """Pause or resume a worker. A paused worker finishes the jobs that it holds and claims no others.

    Resuming also ends its quarantine.
    """
    return _set(database, name, {"paused_at": now()} if paused else {"paused_at": None, **end_quarantine()})


def request_drain(database: Database, name: str) -> Worker:
    """Request that a worker finishes the jobs that it holds and stops."""
    return _set(database, name, {"drain_requested_at": now()})


def _set(database: Database, name: str, values: Mapping[str, Any]) -> Worker:
    with database.write() as session:
        worker = session.get(Worker, name)
        if worker is None:
            raise NotFound(f"There is no worker '{name}'.", code="worker_not_found")
        if worker.state in ("stopped", "failed"):
            raise Conflict(f"Worker '{name}' is {worker.state}.", code="worker_not_running")
        statement = update(Worker).where(Worker.name == name).values(**values).returning(Worker)
        return session.scalars(statement.execution_options(populate_existing=True)).one()
