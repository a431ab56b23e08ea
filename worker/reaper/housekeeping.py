"""Slow tidying: retention by age and space, orphan files, old idempotency keys."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection

from core.errors import RenderError, Unavailable
from core.settings import Settings
from core.storage import LocalImageStore
from db import retention
from db.database import Database

logger = logging.getLogger(__name__)

ORPHAN_SECONDS = 3600.0
"""A file without a row is an orphan only after this: its row may be about to be written, or held through an outage."""
CHUNK = 500


class Housekeeping:
    """Deletes rows first, then files: a file left behind by a crash is swept as an orphan, a row without a file never is."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(settings.resolved_database_url, pool_size=1)
        self._store = LocalImageStore(settings.images_dir)

    def round(self) -> None:
        """Everything once; what cannot be done now is done next time."""
        try:
            self.apply_retention()
            self.sweep_orphans()
            retention.forget_idempotency_keys(self._database, self._settings.idempotency_hours * 3600)
        except (Unavailable, RenderError) as error:
            logger.warning("housekeeping waits: %s", error.message)

    def apply_retention(self) -> int:
        """Deletes what the settings say may go; returns how many jobs went."""
        deleted = 0
        if self._settings.keep_days:
            deleted += self._delete_while(lambda: retention.delete_older(self._database, self._settings.keep_days))
        if self._settings.keep_gigabytes:
            limit = int(self._settings.keep_gigabytes * 1e9)
            deleted += self._delete_while(lambda: retention.delete_over(self._database, limit))
        return deleted

    def sweep_orphans(self, older_than_seconds: float = ORPHAN_SECONDS) -> int:
        """Deletes files that no row names; returns how many."""
        swept = self._store.sweep_partial(older_than_seconds)
        keys = self._store.iter_keys(older_than_seconds)
        while chunk := list(itertools.islice(keys, CHUNK)):
            swept += self._delete_files(retention.unknown_keys(self._database, chunk))
        return swept

    def _delete_while(self, delete_batch: Callable[[], retention.Deleted]) -> int:
        """Batch after batch until nothing is left to delete; returns how many jobs went."""
        jobs = 0
        while (deleted := delete_batch()).jobs:
            self._delete_files(deleted.keys)
            jobs += deleted.jobs
        return jobs

    def _delete_files(self, keys: Collection[str]) -> int:
        return sum(self._store.delete(key) for key in keys)

    def close(self) -> None:
        """Gives the connection back."""
        self._database.dispose()
