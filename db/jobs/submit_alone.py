"""Submit a job that arrives alone with one statement, on Postgres, where each costs more than the work that it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    Double,
    Integer,
    ScalarSelect,
    String,
    bindparam,
    case,
    func,
    insert,
    literal_column,
    null,
    select,
    true,
)

from core.errors import TooManyRequests
from core.lifecycle import JobStatus
from db.database import Database
from db.jobs.fairness import next_turn
from db.jobs.queued_limits import lock_limit, queued_of, too_many
from db.prepared import Prepared, core_table
from db.sql import QUEUED, now
from db.tables import Job, JobEvent

FROM_DATABASE = ("turn", "deadline_at", "available_at", "hinted_at", "created_at")
"""Columns of a new job whose values the database finds."""


def insert_alone(
    database: Database, values: Mapping[str, Any], *, window: int, max_queued: int, deadline_seconds: float | None
) -> dict[str, Any] | TooManyRequests:
    """Insert a job with its first event; return `values`, its columns, with those FROM_DATABASE, or the limit's error."""
    parameters = {**values, "of_window": window, "deadline_seconds": deadline_seconds}
    is_limited = max_queued > 0
    with database.write_rows(separate=not is_limited) as connection:
        if is_limited:
            lock_limit(connection, values["owner"])
            parameters["at_most"] = max_queued
        rows = _insertion(tuple(values), is_limited).rows(connection, parameters)
    return {**values, **rows[0]} if rows else too_many(max_queued)


@cache
def _insertion(names: tuple[str, ...], is_limited: bool) -> Prepared:
    jobs, events = core_table(Job), core_table(JobEvent)
    owner, model = (bindparam(name, type_=String()) for name in ("owner", "model"))
    turn = next_turn(owner, model, bindparam("priority", type_=Integer()))
    lane = select(turn.label("turn"), hinted_of(model).label("hinted"), now().label("now")).cte("lane")
    values: dict[str, Any] = {name: bindparam(name, type_=jobs.c[name].type) for name in names}
    values |= {
        "turn": lane.c.turn,
        "deadline_at": lane.c.now + bindparam("deadline_seconds", type_=Double()),
        "available_at": lane.c.now,
        "hinted_at": case((lane.c.hinted < bindparam("of_window", type_=Integer()), lane.c.now)),
        "created_at": lane.c.now,
    }
    has_room = queued_of(owner) < bindparam("at_most", type_=Integer()) if is_limited else true()
    given = select(*[value.label(name) for name, value in values.items()]).select_from(lane).where(has_room)
    added = insert(jobs).from_select([*values], given).returning(*[jobs.c[name] for name in ("id", *FROM_DATABASE)])
    job = added.cte("added")
    history = {
        "job_id": job.c.id,
        "revision": bindparam("revision", type_=Integer()),
        "from_status": null(),
        "to_status": literal_column(f"'{JobStatus.QUEUED.value}'"),
        "attempt": bindparam("attempt", type_=Integer()),
        "at": job.c.created_at,
    }
    event = insert(events).from_select([*history], select(*history.values())).cte("event")
    return Prepared(select(*[job.c[name] for name in FROM_DATABASE]).add_cte(event))


def hinted_of(model: BindParameter[str]) -> ScalarSelect[int]:
    """Return how many queued jobs of a model have a hint."""
    hinted = select(func.count()).select_from(Job).where(Job.model == model, QUEUED, Job.hinted_at.is_not(None))
    return hinted.scalar_subquery()
