"""INSERT that steps aside when the row exists, on both databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import literal
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.tables import Base


def insert_ignore(session: Session, table: type[Base], **values: Any) -> bool:  # noqa: ANN401 -- column values
    """Whether the row was inserted; False when its key is there already (waits for a concurrent insert to end)."""
    dialect = session.get_bind().dialect.name
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = make(table).values(**values).on_conflict_do_nothing()
    return session.execute(statement.returning(literal(1))).first() is not None
