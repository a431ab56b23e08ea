"""Find out whether the database takes writes, and whether SQLite's file is still the one that is open."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from core.errors import Unavailable
from db.database import Database

FileIdentity = tuple[int, int]
"""Device and inode."""


def probe_write(database: Database) -> None:
    """Commit a write that changes nothing; raise Unavailable when the database does not take it.

    A rolled back write would not reach the disk, and so not notice a full one.
    """
    try:
        with database.write() as session:
            session.execute(text("UPDATE alembic_version SET version_num = version_num"))
    except Unavailable as error:
        if "no such table" in error.message:
            raise Unavailable(
                "The database has none of the farm's tables: run `imagefarm db upgrade`.", code="database_unavailable"
            ) from error
        raise


def file_identity(database: Database) -> FileIdentity | None:
    """Return which file is SQLite's now; None for Postgres, a database in memory and a file that no longer exists."""
    if not database.is_sqlite or not database.url.database or database.url.database == ":memory:":
        return None
    try:
        status = Path(database.url.database).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def check_file(database: Database, opened: FileIdentity | None) -> None:
    """Raise Unavailable unless the file is the one that was `opened`: writes to a deleted file are lost."""
    now = file_identity(database)
    if opened is None or now == opened:
        return
    what = "deleted" if now is None else "replaced by another one"
    raise Unavailable(
        f"The database file was {what} while the farm was running: what is written now is lost. Put the file back from a "
        "backup if it is gone, then restart the farm.",
        code="database_unavailable",
    )
