"""Connect to a database by URL, SQLite or Postgres, and open short transactions."""

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
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from core.errors import InvalidInput, Unavailable

_READS = "imagefarm_reads"
_SQLITE_PRAGMAS = ("busy_timeout=20000", "synchronous=FULL", "foreign_keys=ON")
_WAL_TIMEOUT_SECONDS = 20.0


_POSTGRES_CONNECTION = {
    "application_name": "imagefarm",
    "connect_timeout": 5,
    # Detect an unreachable host within seconds; with TCP's defaults it takes hours.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_AWAY_SQLSTATES = frozenset({"25006", "57P01", "57P02", "57P03"})
"""SQLSTATEs of a server that is read-only after a failover, shutting down, crashed, starting up."""


class Database:
    """Sessions on one database; `write` commits at the end of the block or not at all.

    Raises `core.errors.Unavailable` while the database does not answer, is locked for too long or is full.
    """

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self.url = _parse(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = self._sqlite_engine(pool_size) if self.is_sqlite else self._postgres_engine(pool_size)
        options = {_READS: True} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        # SQLite has one writer at a time, and waiting writers sleep and poll; a lock is faster between threads.
        self._write_lock: AbstractContextManager[object] = threading.Lock() if self.is_sqlite else nullcontext()
        self._reader = self.engine.execution_options(**options)

    def _postgres_engine(self, pool_size: int) -> Engine:
        engine = create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=10,
            connect_args=_POSTGRES_CONNECTION,
        )
        _ping_readable_connections(engine)
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
        """Open a session in one transaction. On SQLite it takes the write lock at the start, and never has to upgrade."""
        with _translate_errors(), self._write_lock, Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a read-only session: one snapshot on SQLite, one for each statement on Postgres."""
        with _translate_errors(), Session(self._reader, expire_on_commit=False) as session:
            yield session

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def _ping_readable_connections(engine: Engine) -> None:
    """Ping a pooled connection at checkout only if its socket is readable.

    Unlike `pool_pre_ping`, this costs a healthy connection no round trip to the server.
    """
    dialect = engine.dialect

    def check(connection: DBAPIConnection, _record: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
        if not _has_unread_data(connection):
            return
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error

    event.listen(engine, "checkout", check)


def _has_unread_data(connection: Any) -> bool:  # noqa: ANN401 -- psycopg's own
    """Return whether the idle connection's socket is readable, as it is after either side has closed it."""
    poll = select.poll()
    try:
        poll.register(connection.fileno(), select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, connection.OperationalError):
        return True


def _parse(url: str) -> URL:
    """Parse the URL, with psycopg 3 for Postgres when it names no driver. Raises InvalidInput for a malformed URL."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidInput(
            "IMAGEFARM_DATABASE_URL is not a database URL; write postgresql+psycopg://user:password@host/database, "
            "or leave it empty for SQLite in the data directory.",
            field="database_url",
        ) from error
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # _begin_sqlite begins transactions: pysqlite's BEGIN is deferred and late
    cursor = connection.cursor()
    for pragma in _SQLITE_PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    _switch_to_wal(cursor)
    cursor.close()


def _switch_to_wal(cursor: DBAPICursor) -> None:
    """Retry until the mode is set: first connections to a new file may collide, and the busy timeout does not apply."""
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
    # A deferred transaction that starts to write fails with "database is locked" at once, regardless of the timeout.
    reads = connection.get_execution_options().get(_READS)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


@contextmanager
def _translate_errors() -> Iterator[None]:
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
