"""Bringing a database's tables up to this version, and checking that they match."""

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
    """Runs the migrations that are missing; safe to call from several processes at once."""
    _migrate(url, lambda config: command.upgrade(config, revision))


def downgrade(url: str, revision: str) -> None:
    """Goes back to `revision`; `base` removes everything."""
    _migrate(url, lambda config: command.downgrade(config, revision))


def differences(url: str) -> list[object]:
    """What the tables in the code have that the database has not, or the other way round; empty when they match."""
    database = Database(url)
    try:
        with database.engine.connect() as connection:
            options = {"compare_type": True, "compare_server_default": True}
            return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))
    finally:
        database.dispose()


def alembic_config(url: str = "") -> Config:
    """Alembic's configuration, in code: there is no alembic.ini to find."""
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
