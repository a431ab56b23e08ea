"""The revision of a database's tables, and whether this version can use it; without Alembic, whose import takes long."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

import migrations
from db.database import Database
from db.faults import ENCODING, NEWER, REFUSED, DatabaseUnusable


def check_usable(connection: Connection) -> None:
    """Raise DatabaseUnusable for a database that this version must not touch or cannot create its tables in."""
    name = connection.engine.url.database
    revision = current_revision(connection)
    if revision is not None and not is_known_revision(revision):
        raise DatabaseUnusable(
            f"The database {name} was made by a newer imagefarm (schema {revision}). Install that version, or name another "
            "database.",
            code=NEWER,
        )
    if connection.dialect.name == "postgresql":
        _check_postgres(connection, str(name), migrated=revision is not None and revision == head_revision())


def _check_postgres(connection: Connection, name: str, *, migrated: bool) -> None:
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise DatabaseUnusable(
            f"The database {name!r} stores text as {encoding}, which cannot hold every prompt. Create one with "
            f"`createdb --encoding=UTF8 --template=template0 NAME` and name it in IMAGEFARM_DATABASE_URL.",
            code=ENCODING,
        )
    user, may_create = connection.execute(
        text("SELECT current_user, coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)")
    ).one()
    if not migrated and not may_create:
        raise DatabaseUnusable(
            f"The user {user!r} may not create tables in the database {name!r}. As its owner run "
            f"`GRANT CREATE ON SCHEMA public TO {user}`, or run `imagefarm db upgrade` once as a user who may.",
            code=REFUSED,
        )


def current_revision(connection: Connection) -> str | None:
    """Return the revision of the database's tables; None without tables."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def is_newest(database: Database) -> bool:
    """Return whether no migration is missing."""
    with database.read() as session:
        return current_revision(session.connection()) == head_revision()


def head_revision() -> str:
    """Return the newest revision of this code's migrations."""
    return max(_revisions())


def is_known_revision(revision: str) -> bool:
    """Return whether this code's migrations reach that schema revision; False for one of a newer version."""
    return revision in _revisions()


def _revisions() -> set[str]:
    """Return the revisions, which are the numbers that their files' names begin with and follow each other."""
    files = Path(migrations.__file__).parent.joinpath("versions").glob("[0-9]*_*.py")
    return {file.name.partition("_")[0] for file in files}
