"""Migrate a database to this version's tables, and compare the two."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import text

import migrations
from db.database import Database
from db.tables import Base

_LOCK = 0x696D6167  # "imag": two processes that start together must not migrate together


def upgrade(url: str, revision: str = "head") -> None:
    """Run the missing migrations; safe to call from several processes at once."""
    _migrate(url, lambda config: command.upgrade(config, revision))


def downgrade(url: str, revision: str) -> None:
    """Migrate back to `revision`; `base` removes all tables."""
    _migrate(url, lambda config: command.downgrade(config, revision))


def differences(url: str) -> list[object]:
    """List the differences between the tables in the code and in the database; empty when they match."""
    database = Database(url)
    try:
        with database.engine.connect() as connection:
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


def _migrate(url: str, action: object) -> None:
    database = Database(url)
    try:
        with database.write() as session:
            connection = session.connection()
            if not database.is_sqlite:  # on SQLite the transaction itself is the lock
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            config = alembic_config(url)
            config.attributes["connection"] = connection
            action(config)  # type: ignore[operator]
    finally:
        database.dispose()
