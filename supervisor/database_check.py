"""Check the farm's database and migrate it before anything starts; supervisors call this in a process that ends then."""

from __future__ import annotations


def check_and_migrate(url: str) -> bool:
    """Check and migrate the database; return True. Raises Unavailable, whose message says what to do."""
    from db import health
    from db.database import Database
    from db.schema_revision import is_newest

    database = Database(url, pool_size=1)
    try:
        health.check(database, thorough=health.small_enough_to_read(database))
        if health.exists(database) and is_newest(database):
            return True
    finally:
        database.dispose()
    from db import migrate

    migrate.upgrade(url)
    return True
