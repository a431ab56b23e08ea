"""Alembic's entry point: run migrations on the caller's connection or URL."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from db.database import Database
from db.tables import Base


def _run(connection: Connection) -> None:
    sqlite = connection.dialect.name == "sqlite"
    context.configure(
        connection=connection, target_metadata=Base.metadata, render_as_batch=sqlite, compare_server_default=True
    )
    with context.begin_transaction():
        context.run_migrations()


def _main() -> None:
    given = context.config.attributes.get("connection")
    if given is not None:
        _run(given)
        return
    url = context.config.get_main_option("sqlalchemy.url")
    if not url:
        raise SystemExit("Set sqlalchemy.url, or run `imagefarm db upgrade`.")
    database = Database(url)
    with database.engine.connect() as connection:
        _run(connection)
        connection.commit()
    database.dispose()


_main()
