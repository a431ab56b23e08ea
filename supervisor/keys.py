"""Whether callers of this farm need a key."""

from __future__ import annotations

from core.exposure import is_loopback
from core.settings import Settings
from db.database import Database
from db.keys import any_active


def any_key_exists(settings: Settings) -> bool:
    """Looked up only when the API is to listen where others can reach it; a farm that never ran has none."""
    never_ran = not settings.database_url and not (settings.data_dir / "imagefarm.db").exists()
    if is_loopback(settings.host) or never_ran:
        return False
    database = Database(settings.resolved_database_url)
    try:
        return any_active(database)
    finally:
        database.dispose()
