"""Statements that are compiled once and run on the driver's cursor, for the transactions that every job goes through.

SQLAlchemy's own way to a cached statement takes several times as long as SQLite or Postgres takes to run it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Executable, Insert, Table
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler

from db.tables import Base

Parameters = Mapping[str, Any]
Transaction = Session | Connection
"""What statements run in: a session, or a connection alone, which costs a quarter."""
_Processor = Callable[[Any], Any]
_PLACEHOLDER = re.compile(r"%(?:%|\((?P<name>[^)]+)\)s)")
_MOST_FORMS = 200
"""Texts of one statement that are kept, of which there is one for each database and length of its lists."""


@dataclass(frozen=True)
class _Text:
    """A statement as the driver takes it, for lists of certain lengths.

    `fixed`: values that the statement itself has. `lists`: name of a list -> the names of its elements, those of tuples one
    after the other. `positions`: the order of the values; None where the driver takes them by name.
    """

    sql: str
    fixed: Parameters
    lists: Mapping[str, Sequence[str]]
    processors: Mapping[str, _Processor]
    positions: Sequence[str] | None

    def values(self, given: Parameters) -> Any:  # noqa: ANN401 -- a dict or a tuple, as the driver takes them
        found = {**self.fixed, **given}
        for name, elements in self.lists.items():
            items = found.pop(name)
            flat = [part for item in items for part in item] if items and isinstance(items[0], tuple) else items
            found.update(zip(elements, flat, strict=True))
        for name, process in self.processors.items():
            found[name] = process(found[name])
        return found if self.positions is None else tuple([found[name] for name in self.positions])


class Prepared:
    """A statement with named parameters, those of IN as lists. Thread-safe; build it once.

    Lists are filled up to a power of two with their last element, which IN ignores: with a text for each length, most would
    be compiled here and planned by the server again and again.

    It has no defaults of columns that Python would compute. Errors are raised as by SQLAlchemy.
    """

    def __init__(self, statement: Executable, lists: Sequence[str] = ()) -> None:
        self._statement = statement
        self._lists = tuple(lists)
        self._texts: dict[tuple[str, ...], _Text] = {}
        self._columns: dict[str, tuple[list[str], list[tuple[str, _Processor]]]] = {}

    def run(self, transaction: Transaction, parameters: Parameters | Sequence[Parameters]) -> None:
        """Run it; with several sets of parameters once for each, which have no lists."""
        connection = connection_of(transaction)
        if isinstance(parameters, Mapping):
            self._execute(connection, parameters).close()
            return
        text = self._text(connection, parameters[0])
        cursor = _cursor(connection)
        rows = [text.values(each) for each in parameters]
        with _Errors(connection, cursor, text.sql):
            cursor.executemany(text.sql, rows)
        cursor.close()

    def rows(self, transaction: Transaction, parameters: Parameters) -> list[dict[str, Any]]:
        """Run it and return its rows by the names of their columns."""
        connection = connection_of(transaction)
        cursor = self._execute(connection, parameters)
        with _Errors(connection, cursor, ""):
            found = cursor.fetchall()
        names, processors = self._columns_of(connection, cursor) if found else ([], [])
        cursor.close()
        rows = [dict(zip(names, row, strict=True)) for row in found]
        for name, process in processors:
            for row in rows:
                row[name] = process(row[name])
        return rows

    def _execute(self, connection: Connection, parameters: Parameters) -> DBAPICursor:
        if self._lists:
            parameters = {**parameters, **{name: _filled_up(parameters[name]) for name in self._lists}}
        text = self._text(connection, parameters)
        cursor = _cursor(connection)
        with _Errors(connection, cursor, text.sql):
            cursor.execute(text.sql, text.values(parameters))
        return cursor

    def _text(self, connection: Connection, parameters: Parameters) -> _Text:
        key = (connection.dialect.name, *[str(len(parameters[name])) for name in self._lists])
        if (found := self._texts.get(key)) is None:
            if len(self._texts) >= _MOST_FORMS:
                self._texts.clear()
            found = self._texts[key] = self._compiled(connection, parameters)
        return found

    def _compiled(self, connection: Connection, parameters: Parameters) -> _Text:
        # Not for one row: SQLAlchemy would then ask for the row's new key, which nothing here reads.
        options = {"for_executemany": True} if isinstance(self._statement, Insert) else {}
        dialect = connection.dialect
        compiled = cast("SQLCompiler", self._statement.compile(dialect=dialect, **options))  # type: ignore[attr-defined]
        state = compiled.construct_expanded_state(dict(parameters))
        expanded = state.parameter_expansion
        lists = {name: list(names) for name, names in expanded.items() if name in parameters}
        elements = {name for names in lists.values() for name in names}
        fixed = {name: value for name, value in state.parameters.items() if name not in elements and name not in parameters}
        processors = dict(state.processors)
        for bind, name in compiled.bind_names.items():
            if name not in expanded and (process := bind.type.dialect_impl(dialect).bind_processor(dialect)) is not None:
                processors[name] = process
        sql, positions = state.statement, state.positiontup
        if dialect.name == "postgresql":
            sql, positions = _numbered(sql)
        return _Text(sql, fixed, lists, processors, positions)

    def _columns_of(self, connection: Connection, cursor: DBAPICursor) -> tuple[list[str], list[tuple[str, _Processor]]]:
        """Return the names of the columns, and what converts the values of those that need it."""
        dialect = connection.dialect
        if (found := self._columns.get(dialect.name)) is None:
            columns = self._statement.exported_columns.items()  # type: ignore[attr-defined]
            kinds = [each[1] for each in cursor.description]
            processors = [
                (name, process)
                for (name, column), kind in zip(columns, kinds, strict=True)
                if (process := column.type.dialect_impl(dialect).result_processor(dialect, kind)) is not None
            ]
            found = self._columns[dialect.name] = ([name for name, _ in columns], processors)
        return found


def run_text(connection: Connection, sql: str) -> None:
    """Run a statement without parameters and rows on the driver's cursor, with errors as SQLAlchemy raises them."""
    cursor = _cursor(connection)
    with _Errors(connection, cursor, sql):
        cursor.execute(sql)
    cursor.close()


def _filled_up(items: Sequence[Any]) -> Sequence[Any]:
    """Return the items with the last one repeated, up to the next power of two; none stay none."""
    missing = (1 << (len(items) - 1).bit_length()) - len(items) if items else 0
    return [*items, *[items[-1]] * missing] if missing else items


def connection_of(transaction: Transaction) -> Connection:
    """Return the connection of a session, or the one given."""
    return transaction if isinstance(transaction, Connection) else transaction.connection()


def _numbered(sql: str) -> tuple[str, list[str]]:
    """Return a text with the server's own placeholders, `$1`, in place of psycopg's, and the names in their order.

    psycopg looks for its placeholders in each text above 4 kB again at each use, a quarter of a millisecond.
    """
    numbers: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        name = found["name"]
        return "%" if name is None else f"${numbers.setdefault(name, len(numbers) + 1)}"

    return _PLACEHOLDER.sub(number, sql), list(numbers)


def _cursor(connection: Connection) -> DBAPICursor:
    if connection.dialect.name != "postgresql":
        return connection.connection.cursor()
    from psycopg import RawCursor  # a farm on SQLite does without the driver

    return cast("DBAPICursor", RawCursor(cast("Any", connection.connection.driver_connection)))


class _Errors:
    """Raise the driver's errors as SQLAlchemy does."""

    def __init__(self, connection: Connection, cursor: DBAPICursor, sql: str) -> None:
        self._connection, self._cursor, self._sql = connection, cursor, sql

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        dialect = self._connection.dialect
        if error is None or not isinstance(error, dialect.loaded_dbapi.Error):
            return
        lost = dialect.is_disconnect(error, self._connection.connection.dbapi_connection, self._cursor)
        raised = DBAPIError.instance(
            self._sql, {}, error, dialect.loaded_dbapi.Error, connection_invalidated=lost, dialect=dialect
        )
        if lost:
            self._connection.invalidate(error)
        raise raised from error


Row = TypeVar("Row", bound=Base)


def detached(cls: type[Row], values: Mapping[str, Any]) -> Row:
    """Return an object of the table that belongs to no session, as if loaded; the ORM's constructor takes longer."""
    row = cls()
    vars(row).update(values)
    return row


def core_table(cls: type[Base]) -> Table:
    """Return the Core table: statements over it avoid the ORM's overhead, which costs more than running them."""
    return cast("Table", cls.__table__)
