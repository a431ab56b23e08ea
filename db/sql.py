"""SQL building blocks for both databases: clock, status conditions, cached and conflict-free inserts.

Times come from the database's clock, because the clocks of hosts may differ. Statuses are literals in SQL, because with a
parameter neither planner can prove that a partial index applies.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Double,
    String,
    TableValuedAlias,
    bindparam,
    cast,
    func,
    insert,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement

from core.lifecycle import JobStatus
from db.prepared import Prepared, Transaction, connection_of, core_table
from db.tables import Base, Job


class now(FunctionElement[float]):  # noqa: N801 -- reads as the SQL function it is
    """SQL expression for seconds since 1970 as a double, at the start of the statement."""

    type = Double()
    inherit_cache = True
    name = "epoch_now"


@compiles(now, "postgresql")
def _postgres(element: now, compiler: Any, **kw: Any) -> str:  # noqa: ANN401 -- SQLAlchemy's own signature
    # Not clock_timestamp(): a volatile function cannot bound an index range.
    return "CAST(EXTRACT(EPOCH FROM statement_timestamp()) AS DOUBLE PRECISION)"


@compiles(now, "sqlite")
def _sqlite(element: now, compiler: Any, **kw: Any) -> str:  # noqa: ANN401 -- SQLAlchemy's own signature
    # unixepoch('subsec') is NULL before SQLite 3.42, which Debian 12 does not have.
    return "((julianday('now') - 2440587.5) * 86400.0)"


class json_entry(FunctionElement[Any]):  # noqa: N801 -- reads as the SQL function it would be
    """SQL expression for an entry of a JSON object: `json_entry(text, key)`. The key is an id: it needs no quotes."""

    inherit_cache = True
    name = "json_entry"

    def __init__(self, text: ColumnElement[str], key: ColumnElement[str]) -> None:
        super().__init__(text, key)


@compiles(json_entry, "postgresql")
def _postgres_entry(element: json_entry, compiler: Any, **kw: Any) -> str:  # noqa: ANN401 -- SQLAlchemy's own signature
    text, key = (compiler.process(each, **kw) for each in element.clauses)
    return f"(CAST({text} AS JSON) -> {key})"


@compiles(json_entry, "sqlite")
def _sqlite_entry(element: json_entry, compiler: Any, **kw: Any) -> str:  # noqa: ANN401 -- SQLAlchemy's own signature
    text, key = (compiler.process(each, **kw) for each in element.clauses)
    return f"""json_extract({text}, '$."' || {key} || '"')"""


def has_status(status: JobStatus) -> ColumnElement[bool]:
    """Return `status = '...'` with the value as a literal."""
    return Job.status == literal_column(f"'{JobStatus(status).value}'")


QUEUED = has_status(JobStatus.QUEUED)
RUNNING = has_status(JobStatus.RUNNING)


def insert_rows(session: Transaction, table: type[Base], clock: str | None, rows: list[dict[str, Any]]) -> None:
    """Insert rows of one table, all with the same columns; the column `clock`, if any, gets the database's time."""
    if len(rows) > 1 and connection_of(session).dialect.name == "postgresql":
        # One statement for all: with the driver's executemany, client and server spend more time per row than on the row.
        _set_insertion(table, clock, tuple(rows[0])).run(session, {"new_rows": json.dumps(rows)})
    elif rows:
        # A single row is passed alone, which avoids the driver's slower executemany.
        _insertion(table, clock, tuple(rows[0])).run(session, rows if len(rows) > 1 else rows[0])


@cache
def _insertion(table: type[Base], clock: str | None, names: tuple[str, ...]) -> Prepared:
    rows = core_table(table)
    given = {name: bindparam(name, type_=rows.c[name].type) for name in names}
    return Prepared(insert(rows).values(**({clock: now()} if clock else {}), **given))


@cache
def _set_insertion(table: type[Base], clock: str | None, names: tuple[str, ...]) -> Prepared:
    """Return the statement for Postgres that inserts the objects of a JSON array, whose columns convert their values."""
    given = row_set(table, "new_rows", names)
    values = {clock: now()} if clock else {}
    return Prepared(insert(core_table(table)).from_select([*values, *names], select(*values.values(), *given.c)))


def row_set(table: type[Base], parameter: str, names: Sequence[str]) -> TableValuedAlias:
    """Return rows of these columns of a table from a parameter, which is a JSON array of objects; on Postgres."""
    like: ColumnElement[Any] = literal_column(f"CAST(NULL AS {core_table(table).name})")
    given = func.json_populate_recordset(like, cast(bindparam(parameter, type_=String()), JSON))
    return given.table_valued(*names)


def insert_ignore(session: Session, table: type[Base], **values: Any) -> bool:  # noqa: ANN401 -- column values
    """Insert the row unless its key exists; return whether it was inserted. Waits for a concurrent insert to end."""
    dialect = session.get_bind().dialect.name
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = make(table).values(**values).on_conflict_do_nothing()
    return session.execute(statement.returning(literal(1))).first() is not None


def lock_name(session: Transaction, name: str) -> None:
    """Let no other transaction that locks the same name run until this one ends; SQLite has one writer anyway."""
    if connection_of(session).dialect.name == "postgresql":
        _lock().rows(session, {"of_name": name})


@cache
def _lock() -> Prepared:
    locked = func.pg_advisory_xact_lock(func.hashtextextended(bindparam("of_name", type_=String()), 0))
    return Prepared(select(locked.label("locked")))
