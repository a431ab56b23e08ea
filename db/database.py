"""Connect to a database by URL, SQLite or Postgres, and open short transactions."""

from __future__ import annotations

import select
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError, InvalidatePoolError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from core.connection_urls import database_url_problem
from core.errors import InvalidInput
from core.json_text import parse_json
from db.faults import REFUSED, DatabaseUnusable, translate_errors
from db.prepared import run_text
from db.write_turns import WAIT_SECONDS, WriteTurns

_READS = "imagefarm_reads"
_SQLITE_PRAGMAS = (f"busy_timeout={int(WAIT_SECONDS * 1000)}", "foreign_keys=ON")
_BUSY = "imagefarm_busy_seconds"
_WAL_TIMEOUT_SECONDS = 20.0


_POSTGRES_CONNECTION = {
    "application_name": "imagefarm",
    "client_encoding": "utf8",  # else psycopg returns bytes from a database of the encoding SQL_ASCII
    "connect_timeout": 5,
    # Detect an unreachable host within seconds; with TCP's defaults it takes hours.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_POSTGRES_SESSION = "; ".join(
    f"SET {name} = {value}"
    for name, value in {
        # Let the server notice as soon that a worker's machine is gone: until then its transaction keeps its locks.
        "tcp_keepalives_idle": 5,
        "tcp_keepalives_interval": 2,
        "tcp_keepalives_count": 3,
        "tcp_user_timeout": 10_000,
        # A frozen process keeps its connection alive.
        "idle_in_transaction_session_timeout": 30_000,
    }.items()
)


class Database:
    """Sessions on one database; `write` commits at the end of the block or not at all.

    Raises `core.errors.Unavailable` while the database does not answer, is locked for too long or is full, and its
    subclass DatabaseUnusable when an operator must act: the file is damaged, a right or a table is missing.
    """

    def __init__(self, url: str, *, pool_size: int = 8, few_plans: bool = False) -> None:
        """`few_plans`: for processes of which a farm has many and which run few kinds of statements again and again.

        Each of their connections to Postgres then plans a statement once, at its first use, and not ten times. The plan is
        for any parameters: searches of users need plans for theirs. It uses indexes where there are any: a new farm's tables
        have few rows when it is made, and many before statistics are gathered. Before version 18, a statement that must read
        a whole table would seem so costly for it that Postgres compiled it each time, for half a second: it may not.
        """
        self.url = _parse(url)
        self._few_plans = few_plans
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = self._sqlite_engine(pool_size) if self.is_sqlite else self._postgres_engine(pool_size)
        self._quick_engine = self._sqlite_engine(pool_size, "NORMAL") if _is_file(self.url) else self.engine
        # SQLite has one writer at a time, and waiting writers sleep and poll; turns are faster.
        self._turns = WriteTurns(_turns_file(self.url)) if self.is_sqlite else None
        self._reader = self.engine.execution_options(**{_READS: True})

    def _postgres_engine(self, pool_size: int) -> Engine:
        engine = create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=10,
            pool_use_lifo=True,  # the connection that was used last has its plans
            connect_args=_POSTGRES_CONNECTION | ({"prepare_threshold": 0} if self._few_plans else {}),
            json_deserializer=parse_json,
            # For good: psycopg would be told at each use, which costs as much as half a statement. See _begin_postgres.
            isolation_level="AUTOCOMMIT",
        )
        event.listen(engine, "begin", _begin_postgres)
        event.listen(engine, "connect", partial(_prepare_postgres, self._few_plans))
        _ping_readable_connections(engine)
        return engine

    def _sqlite_engine(self, pool_size: int, synchronous: str = "FULL") -> Engine:
        if self.url.database:
            _make_folder(Path(self.url.database).parent)
        engine = create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=pool_size,
            connect_args={"timeout": 20},
            json_deserializer=parse_json,
        )
        event.listen(engine, "connect", partial(_prepare_sqlite, synchronous))
        event.listen(engine, "begin", self._begin_sqlite)
        return engine

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Session]:
        """Open a session in one transaction. On SQLite it takes the write lock at the start, and never has to upgrade.

        `durable` false, on SQLite: a power cut may undo it, with all that was committed after it, unless something durable
        was. For what ends with this machine's processes anyway. Postgres, whose clients may outlive it, always waits.
        """
        with (
            translate_errors(self.url),
            self._turns.turn() if self._turns is not None else nullcontext(),
            Session(self.engine if durable else self._quick_engine, expire_on_commit=False) as session,
            session.begin(),
            self._noting_locks(),
        ):
            yield session

    @contextmanager
    def write_rows(self, *, durable: bool = True, separate: bool = False) -> Iterator[Connection]:
        """Open a connection in one transaction like `write`, for `db.prepared`: a session costs more than statements.

        `separate`: on Postgres each statement is a transaction of its own, without the round trips of BEGIN and COMMIT.
        """
        writer = self._reader if separate and not self.is_sqlite else self.engine if durable else self._quick_engine
        with (
            translate_errors(self.url),
            self._turns.turn() if self._turns is not None else nullcontext(),
            self._noting_locks(),
            writer.connect() as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def _noting_locks(self) -> Iterator[None]:
        """Tell the writers' turns whether SQLite's lock was to be had."""
        try:
            yield
        except OperationalError as error:
            if self._turns is not None and _is_locked(error):
                self._turns.note(locked=True)
            raise
        if self._turns is not None:
            self._turns.note(locked=False)

    def _begin_sqlite(self, connection: Connection) -> None:
        # A deferred transaction that starts to write fails with "database is locked" at once, regardless of the timeout.
        if connection.get_execution_options().get(_READS):
            run_text(connection, "BEGIN")
            return
        seconds = self._turns.wait_seconds if self._turns is not None else WAIT_SECONDS
        if connection.info.get(_BUSY, WAIT_SECONDS) != seconds:
            run_text(connection, f"PRAGMA busy_timeout={int(seconds * 1000)}")
            connection.info[_BUSY] = seconds
        run_text(connection, "BEGIN IMMEDIATE")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a read-only session: one snapshot on SQLite, one for each statement on Postgres."""
        with translate_errors(self.url), Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def read_rows(self) -> Iterator[Connection]:
        """Open a connection for reading like `read`, as `write_rows` for writing."""
        with translate_errors(self.url), self._reader.connect() as connection, connection.begin():
            yield connection

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()
        self._quick_engine.dispose()
        if self._turns is not None:
            self._turns.close()


def _turns_file(url: URL) -> Path | None:
    """Return the file of the writers' turns, beside the database; None for one that no other process opens."""
    return Path(f"{url.database}-turns") if _is_file(url) else None


def _is_file(url: URL) -> bool:
    is_sqlite = url.get_backend_name() == "sqlite"
    return is_sqlite and bool(url.database) and url.database != ":memory:" and not str(url.database).startswith("file:")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnusable(
            f"The folder {folder} of the database cannot be created ({error.strerror}). Name another with "
            "IMAGEFARM_DATA_DIR or IMAGEFARM_DATABASE_URL.",
            code=REFUSED,
        ) from error


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
    except (ArgumentError, ValueError, TypeError):
        # Without the cause: it quotes what it takes for the port, which may be a part of the password.
        problem = database_url_problem(url) or "it is not a database URL"
        raise InvalidInput(f"IMAGEFARM_DATABASE_URL: {problem}.", field="database_url") from None
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def _prepare_postgres(few_plans: bool, connection: Any, _: ConnectionPoolEntry) -> None:  # noqa: ANN401 -- psycopg's own
    connection.autocommit = True  # what a transaction sets, its rollback undoes
    plans = "; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off" if few_plans else ""
    connection.execute(_POSTGRES_SESSION + plans, prepare=False)


def _begin_postgres(connection: Connection) -> None:
    options = connection.get_execution_options()
    if _READS not in options and "isolation_level" not in options:
        run_text(connection, "BEGIN")


def _prepare_sqlite(synchronous: str, connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # _begin_sqlite begins transactions: pysqlite's BEGIN is deferred and late
    cursor = connection.cursor()
    for pragma in (*_SQLITE_PRAGMAS, f"synchronous={synchronous}"):
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


def _is_locked(error: OperationalError) -> bool:
    return getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
