"""Check that a database can be used: reachable, of a known version and encoding, whole, and open to this user."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from db.database import Database
from db.faults import DatabaseUnusable, damaged_sqlite
from db.schema_revision import check_usable

QUICK_CHECK_BYTES = 2**30
"""A start reads a whole SQLite file only up to this size; it takes a few seconds there."""


def check(database: Database, *, thorough: bool = False) -> None:
    """Return when the database can be used; never changes or creates it.

    `thorough` also reads the whole file of SQLite. Raises Unavailable when it does not answer, and DatabaseUnusable, whose
    message says what to do, when it is damaged, made by a newer version, of another encoding than UTF8, or closed to
    this user. A SQLite file that does not exist yet is fine.
    """
    if not exists(database):
        return
    with database.read() as session:
        connection = session.connection()
        check_usable(connection)
        if thorough and database.is_sqlite:
            found = connection.scalar(text("PRAGMA quick_check(1)"))
            if found != "ok":
                raise _damaged(database, str(found))


def small_enough_to_read(database: Database) -> bool:
    """Return whether a thorough check is quick enough for every start."""
    return not database.is_sqlite or not exists(database) or _file(database).stat().st_size <= QUICK_CHECK_BYTES


def exists(database: Database) -> bool:
    """Return whether there is a file of SQLite; True for a server, whatever it holds."""
    return not database.is_sqlite or _file(database).is_file()


def _damaged(database: Database, found: str) -> DatabaseUnusable:
    lines = [line for line in found.splitlines() if line.strip() and not line.startswith("***")]
    return damaged_sqlite(str(database.url.database), lines[0] if lines else found)


def _file(database: Database) -> Path:
    return Path(database.url.database or "")
