"""Jobs that a worker holds, by (job id, attempt): picked out and locked in one order, so that no two writers deadlock."""

from __future__ import annotations

from sqlalchemy import ColumnElement, bindparam, select, tuple_

from db.conditions import RUNNING
from db.tables import Job

Held = tuple[str, int]
"""Job id and attempt number: what leases and fences speak of."""


def held_by_attempts() -> tuple[ColumnElement[bool], ...]:
    """Conditions on a running job; the parameter `held` is a list of `Held`."""
    wanted = tuple_(Job.id, Job.attempt).in_(bindparam("held", expanding=True))
    locked = select(Job.id).where(wanted, RUNNING).order_by(Job.id).with_for_update().cte("locked")
    return Job.id.in_(select(locked.c.id)), wanted
