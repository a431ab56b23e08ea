"""Select queued jobs that need a hint in the broker: a short window, in fair order."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

from sqlalchemy import ColumnElement, Executable, String, bindparam, func, literal, select, update
from sqlalchemy.orm import Session

from core.queue import window_size
from db.database import Database
from db.sql import QUEUED, now
from db.tables import Job
from db.workers import live_workers


def take_window(database: Database, model: str, window: int) -> list[Job]:
    """Mark jobs as hinted until `window` of the model are, and return the newly marked ones for the caller to publish."""
    with database.read() as session:
        if not _free_slots(session, model, window) or not _waiting(session, model, 1):
            return []
    with database.write() as session:
        return _mark(session, _waiting(session, model, _free_slots(session, model, window)))


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


def _free_slots(session: Session, model: str, window: int) -> int:
    return max(window - (session.scalar(select(func.count()).select_from(Job).where(*_hinted(model))) or 0), 0)


def _waiting(session: Session, model: str, limit: int) -> list[str]:
    query = (
        select(Job.id)
        .where(QUEUED, Job.model == model, Job.hinted_at.is_(None), Job.available_at <= now())
        .order_by(Job.priority.desc(), Job.turn, Job.id)
        .limit(limit)
    )
    return list(session.scalars(query.with_for_update(skip_locked=True)))


def _mark(session: Session, ids: list[str]) -> list[Job]:
    marked = session.scalars(
        update(Job).where(Job.id.in_(ids), QUEUED, Job.hinted_at.is_(None)).values(hinted_at=now()).returning(Job)
    ).all()
    order = {job_id: position for position, job_id in enumerate(ids)}
    return sorted(marked, key=lambda job: order[job.id])


def _clear(session: Session, *conditions: ColumnElement[bool]) -> int:
    query = update(Job).where(QUEUED, Job.hinted_at.is_not(None), *conditions)
    return len(session.scalars(query.values(hinted_at=None).returning(Job.id)).all())
