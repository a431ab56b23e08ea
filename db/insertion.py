"""INSERT statements built once: building one costs more than running it."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Insert, bindparam, insert
from sqlalchemy.orm import Session

from db.clock import now
from db.tables import Base, core_table


def insert_rows(session: Session, table: type[Base], clock: str, rows: list[dict[str, Any]]) -> None:
    """Rows of one table, all with the same columns; the column `clock` gets the database's time."""
    if rows:
        # One row alone spares the driver its batch of commands.
        session.connection().execute(_insertion(table, clock, tuple(rows[0])), rows if len(rows) > 1 else rows[0])


@cache
def _insertion(table: type[Base], clock: str, names: tuple[str, ...]) -> Insert:
    rows = core_table(table)
    given = {name: bindparam(name, type_=rows.c[name].type) for name in names}
    return insert(rows).values(**{clock: now()}, **given)
