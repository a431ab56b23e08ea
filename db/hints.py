"""Select queued jobs that need a hint in the broker: a short window, in fair order."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

from sqlalchemy import (
    ColumnElement,
    Executable,
    Integer,
    Select,
    String,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.orm import Session, aliased

from core.queue import window_size
from db.database import Database
from db.prepared import Prepared, core_table, detached
from db.sql import QUEUED, now
from db.tables import Job
from db.workers import live_workers


def take_window(database: Database, model: str, window: int) -> list[Job]:
    """Mark jobs as hinted until `window` of the model are, and return the newly marked ones for the caller to publish.

    They are in fair order and belong to no session.
    """
    parameters = {"of_model": model, "at_most": window}
    with database.read_rows() as connection:  # SQLite's only writer is not held up where there is nothing to mark.
        if not _without_hint_rows().rows(connection, parameters):
            return []
    with database.write_rows() as connection:
        jobs = [detached(Job, row) for row in _marking().rows(connection, parameters)]
    return sorted(jobs, key=lambda job: (-job.priority, job.turn, job.id))


@cache
def _without_hint_rows() -> Prepared:
    return Prepared(_next_without_hint())


@cache
def _marking() -> Prepared:
    table = core_table(Job)
    chosen = _next_without_hint().with_for_update(skip_locked=True, of=Job).cte("chosen")
    marked = update(table).where(table.c.id.in_(select(chosen.c.id)), QUEUED, table.c.hinted_at.is_(None))
    return Prepared(marked.values(hinted_at=now()).returning(table))


def _next_without_hint() -> Select[str]:
    """Return the query for the ids of jobs that need a hint, as many as the window has room for."""
    model, window = bindparam("of_model", type_=String()), bindparam("at_most", type_=Integer())
    hinted = aliased(Job)
    is_hinted = (hinted.model == model, hinted.status == literal_column("'queued'"), hinted.hinted_at.is_not(None))
    room = window - select(func.count()).select_from(hinted).where(*is_hinted).scalar_subquery()
    return (
        select(Job.id)
        .where(QUEUED, Job.model == model, Job.hinted_at.is_(None), Job.available_at <= now())
        .order_by(Job.priority.desc(), Job.turn, Job.id)
        .limit(case((room > 0, room), else_=0))
    )


def any_without_hint(database: Database, model: str) -> bool:
    """Return whether a waiting job of the model has no hint: where none has, there is no window to fill."""
    with database.read() as session:
        return session.connection().execute(_without_hint(), {"of_model": model}).first() is not None


@cache
def _without_hint() -> Executable:
    model = bindparam("of_model", type_=String())
    return select(literal(1)).where(QUEUED, Job.model == model, Job.hinted_at.is_(None), Job.available_at <= now()).limit(1)


def window_of(database: Database, model: str) -> int:
    """Return how many hints of this model may be in the broker now, by the capacity of its live workers."""
    return window_size(sum(worker.capacity for worker in live_workers(database, model)))


def models_waiting(database: Database) -> list[str]:
    """List the models with queued jobs; one index look-up for each model, regardless of the number of jobs."""
    found: list[str] = []
    with database.read() as session:
        while True:
            next_model = select(func.min(Job.model)).where(QUEUED)
            model = session.scalar(next_model.where(Job.model > found[-1]) if found else next_model)
            if model is None:
                return found
            found.append(model)


def clear_hint(database: Database, job_id: str) -> None:
    """Clear a job's hint mark after a failed publish, so that it gets a new hint."""
    clear_hints(database, [job_id])


def clear_hints(database: Database, job_ids: Collection[str]) -> None:
    """Clear the hint marks of several jobs like `clear_hint`."""
    with database.write() as session:
        _clear(session, Job.id.in_(job_ids))


def clear_all_hints(database: Database) -> int:
    """Clear all hint marks after the broker lost its data, and return how many."""
    with database.write() as session:
        return _clear(session)


def clear_stale_hints(database: Database, model: str, older_than_seconds: float) -> int:
    """Clear hint marks older than that many seconds, and return how many. Call when the model's queue is empty."""
    with database.read() as session:
        oldest = session.scalar(select(func.min(Job.hinted_at)).where(*_hinted(model)))
        clock = session.scalar(select(now()))
    if oldest is None or clock is None or oldest > clock - older_than_seconds:
        return 0
    with database.write() as session:
        return _clear(session, Job.model == model, Job.hinted_at < now() - literal(older_than_seconds))


def _hinted(model: str) -> tuple[ColumnElement[bool], ...]:
    return Job.model == model, QUEUED, Job.hinted_at.is_not(None)


def _clear(session: Session, *conditions: ColumnElement[bool]) -> int:
    marked = (QUEUED, Job.hinted_at.is_not(None), *conditions)
    # Locked in the order of others that change many queued jobs, such as a cancel, which would deadlock otherwise.
    locked = select(Job.id).where(*marked).order_by(Job.id).with_for_update().cte("locked")
    query = update(Job).where(Job.id.in_(select(locked.c.id)), *marked).execution_options(synchronize_session=False)
    return len(session.scalars(query.values(hinted_at=None).returning(Job.id)).all())
