"""Migrate a database to this version's tables, and compare the two."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import text

import migrations
from core.errors import Unavailable
from db.database import Database
from db.faults import translate_errors
from db.schema_revision import check_usable
from db.tables import Base

_LOCK = 0x696D6167  # "imag": two processes that start together must not migrate together
_TRIES, _PAUSE_SECONDS = 20, 0.2
"""A running farm locks the same tables in other orders; Postgres ends one of two transactions that wait for each other."""


def upgrade(url: str, revision: str = "head") -> None:
    """Run the missing migrations; safe to call from several processes at once."""
    _migrate(url, lambda config: command.upgrade(config, revision))


def downgrade(url: str, revision: str) -> None:
    """Migrate back to `revision`; `base` removes all tables."""
    _migrate(url, lambda config: command.downgrade(config, revision))


def differences(url: str) -> list[object]:
    """List the differences between the tables in the code and in the database; empty when they match.

    Raises what `check_usable` raises.
    """
    database = Database(url)
    try:
        with translate_errors(database.url), database.engine.connect() as connection:
            check_usable(connection)
            options = {"compare_type": True, "compare_server_default": True}
            return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))
    finally:
        database.dispose()


def alembic_config(url: str = "") -> Config:
    """Build Alembic's configuration in code, without an alembic.ini."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def _migrate(url: str, action: Callable[[Config], None]) -> None:
    database = Database(url)
    try:
        for left in reversed(range(_TRIES)):
            try:
                _migrate_once(database, url, action)
            except Unavailable as error:
                if not left or not _is_deadlock(error):
                    raise
                time.sleep(_PAUSE_SECONDS)
            else:
                return
    finally:
        database.dispose()


def _migrate_once(database: Database, url: str, action: Callable[[Config], None]) -> None:
    """Run all steps in one transaction: an error leaves the tables as they were."""
    with database.write() as session:
        connection = session.connection()
        check_usable(connection)
        if not database.is_sqlite:  # on SQLite the transaction itself is the lock
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        config = alembic_config(url)
        config.attributes["connection"] = connection
        action(config)


def _is_deadlock(error: Unavailable) -> bool:
    return getattr(getattr(error.__cause__, "orig", None), "sqlstate", None) == "40P01"
