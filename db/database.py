"""One database by URL: short transactions, on SQLite and Postgres alike."""

from __future__ import annotations

import select
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from core.errors import InvalidInput, Unavailable

_READS = "imagefarm_reads"
_SQLITE_PRAGMAS = ("busy_timeout=20000", "synchronous=FULL", "foreign_keys=ON")
_WAL_TIMEOUT_SECONDS = 20.0


_POSTGRES_CONNECTION = {
    "application_name": "imagefarm",
    "connect_timeout": 5,
    # A host that vanishes without a word is noticed in seconds, not in the hours that TCP allows itself.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_AWAY_SQLSTATES = frozenset({"25006", "57P01", "57P02", "57P03"})
"""Read-only after a failover, shutting down, crashed, starting up."""


class Database:
    """Hands out sessions; `write` commits at the end of the block or not at all.

    A database that is away, locked beyond patience or full raises `core.errors.Unavailable`.
    """

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self.url = _parse(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = self._sqlite_engine(pool_size) if self.is_sqlite else self._postgres_engine(pool_size)
        options = {_READS: True} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        # SQLite has one writer at a time and lets the others sleep and poll; threads of one process had better queue.
        self._turn: AbstractContextManager[object] = threading.Lock() if self.is_sqlite else nullcontext()
        self._reader = self.engine.execution_options(**options)

    def _postgres_engine(self, pool_size: int) -> Engine:
        engine = create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=10,
            connect_args=_POSTGRES_CONNECTION,
        )
        event.listen(engine, "checkout", _check_idle_connection)
        return engine

    def _sqlite_engine(self, pool_size: int) -> Engine:
        if self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(self.url, pool_size=pool_size, max_overflow=pool_size, connect_args={"timeout": 20})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session in one transaction. On SQLite it holds the write lock from the start, so it never has to upgrade."""
        with _translated(), self._turn, Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that only reads: a snapshot on SQLite, statement by statement on Postgres."""
        with _translated(), Session(self._reader, expire_on_commit=False) as session:
            yield session

    def dispose(self) -> None:
        """Closes every pooled connection."""
        self.engine.dispose()


def _check_idle_connection(connection: Any, _: ConnectionPoolEntry, __: object) -> None:  # noqa: ANN401 -- psycopg's
    """Make the pool reconnect when the server has closed an idle connection.

    `pool_pre_ping` costs a round trip per checkout; this asks the server only when the socket has unread data.
    """
    if _is_quiet(connection):
        return
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except connection.Error as error:
        raise InvalidatePoolError from error  # the other idle connections of the pool were closed with this one


def _is_quiet(connection: Any) -> bool:  # noqa: ANN401 -- psycopg's
    """Return whether the socket has nothing to read; a closed connection has an end of file or the server's last message."""
    look = select.poll()
    try:
        look.register(connection.fileno(), select.POLLIN)
        return not look.poll(0)
    except (OSError, connection.OperationalError):
        return False


def _parse(url: str) -> URL:
    """The URL with psycopg 3 for Postgres when it names no driver; raises InvalidInput for what is no such URL."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidInput(
            "IMAGEFARM_DATABASE_URL is no database URL; write postgresql+psycopg://user:password@host/database, "
            "or leave it empty for SQLite in the data directory.",
            field="database_url",
        ) from error
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # BEGIN is ours: pysqlite's own is deferred and late
    cursor = connection.cursor()
    for pragma in _SQLITE_PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    _switch_to_wal(cursor)
    cursor.close()


def _switch_to_wal(cursor: DBAPICursor) -> None:
    """A new file's first connections may collide here, and SQLite's busy timeout does not cover this one statement."""
    give_up_at = time.monotonic() + _WAL_TIMEOUT_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that turns to writing fails with "database is locked" at once, whatever the timeout.
    reads = connection.get_execution_options().get(_READS)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise _unavailable(error) from error
    except DBAPIError as error:
        if error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _AWAY_SQLSTATES:
            raise _unavailable(error) from error
        raise


def _unavailable(error: Exception) -> Unavailable:
    cause = str(getattr(error, "orig", error)).strip().splitlines()
    return Unavailable(
        f"The database does not answer ({cause[0] if cause else type(error).__name__}). Try again in a few seconds.",
        code="database_unavailable",
    )
