"""The quarantine of workers in the database: conditions on their rows, and its end."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, String, and_, bindparam, or_, update

from db.prepared import Prepared, Transaction
from db.sql import now
from db.tables import Worker, core_table


def is_quarantined() -> ColumnElement[bool]:
    """Match a worker that may claim nothing until its quarantine is over."""
    return and_(Worker.quarantined_until.is_not(None), Worker.quarantined_until > now())


def is_on_probation() -> ColumnElement[bool]:
    """Match a worker in quarantine, or after one and before its next success: it may hold one job at a time."""
    return Worker.quarantined_until.is_not(None)


def end_quarantine() -> dict[str, Any]:
    """Return the values of a worker's row that end its quarantine and forget its failures."""
    return {"quarantined_until": None, "quarantines": None, "quarantine_reason": None, "failures": None}


def trust(session: Transaction, workers: Collection[str]) -> None:
    """Forget the failures of workers that have just finished a job, and end their quarantine."""
    _trust().run(session, {"trusted": sorted(workers)})


@cache
def _trust() -> Prepared:
    table = core_table(Worker)
    trusted = table.c.name.in_(bindparam("trusted", expanding=True, type_=String()))
    marked = or_(table.c.failures.is_not(None), table.c.quarantined_until.is_not(None))
    return Prepared(update(table).where(trusted, marked).values(**end_quarantine()), ["trusted"])
