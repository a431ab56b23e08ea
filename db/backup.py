"""Copy a database while it is in use and load a copy: SQLite's online backup, Postgres's pg_dump and pg_restore."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg import pq
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL, Connection, create_engine, func, inspect, select, text, update
from sqlalchemy.pool import NullPool

from core.errors import Conflict, NotFound
from core.lifecycle import JobStatus
from db import migrate
from db.database import Database
from db.jobs.finish import end_with_error
from db.sql import RUNNING, has_status
from db.tables import Base, Image, Job, Upload, Worker
from db.workers import LIVE_STATES

_PAGES_A_STEP = 2048
_SQLITE_SIDE_FILES = ("", "-wal", "-shm", "-journal", "-turns")

Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is in all."""


class BackupFailed(Conflict):
    """A backup cannot be made, or cannot be restored here; the message says why."""

    code = "backup_failed"


@dataclass(frozen=True)
class Contents:
    """What one snapshot of a database holds: schema revision, numbers of rows, storage keys of the files it names."""

    revision: str
    rows: dict[str, int]
    image_keys: list[str]
    upload_keys: list[str]


def sqlite_files(database: Database) -> list[Path]:
    """Return the database file and the names of its side files. Raises NotFound for a database in memory."""
    name = database.url.database
    if not name or name == ":memory:":
        raise NotFound("The database is in memory: it ends with the farm and cannot be backed up.", code="no_database")
    return [Path(f"{name}{suffix}") for suffix in _SQLITE_SIDE_FILES]


def size_in_bytes(database: Database) -> int:
    """Upper bound of what a copy takes; NotFound when there is no database yet, Unavailable when it does not answer."""
    if not database.is_sqlite:
        with database.read() as session:
            return session.scalar(select(func.pg_database_size(func.current_database()))) or 0
    file, *side_files = sqlite_files(database)
    if not file.is_file():
        raise NotFound(
            f"There is no database at {file}. Name the farm's data directory with --data-dir.", code="no_database"
        )
    return sum(path.stat().st_size for path in (file, *side_files) if path.exists())


def copy_database(database: Database, target: Path, progress: Progress) -> Contents:
    """Write one consistent snapshot to `target` and say what it holds.

    On Postgres without pg_dump in PATH nothing is written: `target` is then missing. Raises BackupFailed.
    """
    if database.is_sqlite:
        _copy_sqlite(sqlite_files(database)[0], target, progress)
        engine = create_engine(URL.create("sqlite", database=str(target)), poolclass=NullPool)
        with engine.connect() as connection:
            return _contents(connection)
    frozen = database.engine.execution_options(isolation_level="REPEATABLE READ")
    with frozen.connect() as connection:
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))  # the copy may take hours
        snapshot = connection.scalar(select(func.pg_export_snapshot()))
        contents = _contents(connection)
        if shutil.which("pg_dump") is not None:
            _run_tool(database, "pg_dump", *_DUMP_OPTIONS, f"--snapshot={snapshot}", f"--file={target}")
    return contents


def dump_command(database: Database, target: Path) -> str:
    """Return the pg_dump call, without the password, for a user to run where pg_dump was not found."""
    conninfo, _ = _connection_options(database)
    return f'pg_dump {" ".join(_DUMP_OPTIONS)} --file="{target}" --dbname="{conninfo}"'


def load_postgres(database: Database, dump: Path) -> None:
    """Load a dump in one transaction; raises BackupFailed, with the database unchanged."""
    _run_tool(database, "pg_restore", *_LOAD_OPTIONS, str(dump))


def is_empty(database: Database) -> bool:
    """Whether the database holds none of a farm's tables; for SQLite, whether none of its files exists."""
    if database.is_sqlite:
        return not any(path.exists() for path in sqlite_files(database))
    with database.read() as session:
        tables = set(inspect(session.connection()).get_table_names())
    return tables.isdisjoint({*Base.metadata.tables, "alembic_version"})


def release_running(url: str) -> None:
    """Make a restored database ready for a new farm: current tables, no live worker, running jobs queued at no cost."""
    migrate.upgrade(url)
    database = Database(url, pool_size=1)
    try:
        with database.write() as session:
            session.execute(update(Worker).where(Worker.state.in_(LIVE_STATES)).values(state="stopped"))
            for job_id, attempt in session.execute(select(Job.id, Job.attempt).where(RUNNING)).all():
                end_with_error(session, job_id, attempt, "worker_drained", "The farm was restored from a backup.")
    finally:
        database.dispose()


def finish_sqlite(file: Path) -> None:
    """Merge the write-ahead log into the file, so that it can be moved alone, and check it; raises BackupFailed."""
    with _sqlite_errors(), closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise BackupFailed(f"The database is damaged: {found}.")


def _copy_sqlite(source: Path, target: Path, progress: Progress) -> None:
    with (
        _sqlite_errors(),
        closing(sqlite3.connect(source, timeout=20, isolation_level=None)) as live,
        closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        # An open read transaction pins the snapshot: otherwise every commit of the farm starts the copy over.
        live.execute("BEGIN")
        live.execute("SELECT count(*) FROM sqlite_master").fetchone()
        live.backup(copy, pages=_PAGES_A_STEP, progress=lambda _, left, total: progress(total - left, total))
    finish_sqlite(target)


@contextmanager
def _sqlite_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise BackupFailed(f"The database cannot be copied: {error}.") from error


def _contents(connection: Connection) -> Contents:
    if not inspect(connection).has_table("alembic_version"):
        raise BackupFailed("The database holds no farm: its tables are missing. Run `imagefarm up` once.")
    image_keys = list(connection.scalars(select(Image.key)))
    upload_keys = list(connection.scalars(select(Upload.key)))
    rows = {
        "jobs": connection.scalar(select(func.count()).select_from(Job)) or 0,
        "queued": connection.scalar(select(func.count()).where(has_status(JobStatus.QUEUED))) or 0,
        "images": len(image_keys),
        "uploads": len(upload_keys),
    }
    revision = connection.scalar(text("SELECT version_num FROM alembic_version")) or ""
    return Contents(revision, rows, image_keys, upload_keys)


_DUMP_OPTIONS = ("--format=custom", "--no-owner", "--no-privileges")
_LOAD_OPTIONS = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges")


def _connection_options(database: Database) -> tuple[str, str]:
    """Return the URL as a libpq connection string and, apart, the password, which must not show in a process list."""
    _, given = database.engine.dialect.create_connect_args(database.url)
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    options = {name: value for name, value in given.items() if name in known}
    password = str(options.pop("password", ""))
    return make_conninfo("", **options), password


def _run_tool(database: Database, tool: str, *options: str) -> None:
    conninfo, password = _connection_options(database)
    environment = os.environ | ({"PGPASSWORD": password} if password else {})
    command = [tool, "--no-password", f"--dbname={conninfo}", *options]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise BackupFailed(f"{tool} failed: {lines[0] if lines else f'exit code {done.returncode}'}")
