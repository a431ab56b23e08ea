"""Delete what is past its retention: rows and files of old jobs, orphan files, old idempotency keys."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection

from core.errors import RenderError, Unavailable
from core.settings import Settings
from core.storage import LocalImageStore
from db import quotas, retention
from db.database import Database

ORPHAN_SECONDS = 3600.0
"""A file without a row is an orphan only after this: its row may be about to be written, or held through an outage."""
CHUNK = 500


class Pruner:
    """Deletes settled jobs with their images, and files that nobody owns."""

    def __init__(self, database: Database, store: LocalImageStore) -> None:
        self._database = database
        self._store = store

    def older_than(self, days: float, on_batch: Callable[[int], object] = lambda _: None) -> int:
        """Deletes jobs that settled more than `days` ago; returns how many, and tells `on_batch` as it goes."""
        return self._delete_while(lambda: retention.delete_older(self._database, days), on_batch)

    def over(self, limit_bytes: int, on_batch: Callable[[int], object] = lambda _: None) -> int:
        """Deletes the oldest jobs with images until all images together fit; returns how many jobs went."""
        return self._delete_while(lambda: retention.delete_over(self._database, limit_bytes), on_batch)

    def orphans(self, older_than_seconds: float = ORPHAN_SECONDS) -> int:
        """Deletes files that no row names; returns how many."""
        swept = self._store.sweep_partial(older_than_seconds)
        keys = self._store.iter_keys(older_than_seconds)
        while chunk := list(itertools.islice(keys, CHUNK)):
            swept += self._delete_files(retention.unknown_keys(self._database, chunk))
        return swept

    def _delete_while(self, delete_batch: Callable[[], retention.Deleted], on_batch: Callable[[int], object]) -> int:
        jobs = 0
        while (deleted := delete_batch()).jobs:
            self._delete_files(deleted.keys)
            jobs += deleted.jobs
            on_batch(deleted.jobs)
        return jobs

    def _delete_files(self, keys: Collection[str]) -> int:
        return sum(self._store.delete(key) for key in keys)


logger = logging.getLogger(__name__)


class RetentionRound:
    """What the reaper does now and then; what cannot be done now is done next time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(settings.resolved_database_url, pool_size=1)
        self._pruner = Pruner(self._database, LocalImageStore(settings.images_dir))

    def round(self) -> None:
        """Everything once."""
        try:
            jobs = self._retain()
            files = self._pruner.orphans()
            retention.forget_idempotency_keys(self._database, self._settings.idempotency_hours * 3600)
            quotas.delete_old_counters(self._database)
        except (Unavailable, RenderError) as error:
            logger.warning("housekeeping waits: %s", error.message)
            return
        if jobs or files:
            logger.info("deleted %d jobs past their keeping and %d orphan files", jobs, files)

    def _retain(self) -> int:
        jobs = 0
        if self._settings.keep_days:
            jobs += self._pruner.older_than(self._settings.keep_days)
        if self._settings.keep_gigabytes:
            jobs += self._pruner.over(int(self._settings.keep_gigabytes * 1e9))
        return jobs

    def close(self) -> None:
        """Gives the connection back."""
        self._database.dispose()
