"""Delete data past its retention: rows and files of old jobs, orphan files, old idempotency keys, ended sessions."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection

from core.errors import RenderError, Unavailable
from core.settings import Settings
from core.storage import LocalImageStore
from db import quotas, retention, sessions
from db.database import Database

ORPHAN_SECONDS = 3600.0
"""Age from which a file without a row is an orphan: until then its row may be about to be written after an outage."""
CHUNK = 500


class Pruner:
    """Delete settled jobs with their images, and files that no row names."""

    def __init__(self, database: Database, store: LocalImageStore) -> None:
        self._database = database
        self._store = store

    def older_than(self, days: float, on_batch: Callable[[int], object] = lambda _: None) -> int:
        """Delete jobs that settled more than `days` ago; return how many. `on_batch` gets the number of each batch."""
        return self._delete_while(lambda: retention.delete_older(self._database, days), on_batch)

    def over(self, limit_bytes: int, on_batch: Callable[[int], object] = lambda _: None) -> int:
        """Delete the oldest jobs with images until all images fit into `limit_bytes`; return how many jobs."""
        return self._delete_while(lambda: retention.delete_over(self._database, limit_bytes), on_batch)

    def orphans(self, older_than_seconds: float = ORPHAN_SECONDS) -> int:
        """Delete files that no row names; return how many."""
        deleted = self._store.sweep_partial(older_than_seconds)
        keys = self._store.iter_keys(older_than_seconds)
        while chunk := list(itertools.islice(keys, CHUNK)):
            deleted += self._delete_files(retention.unknown_keys(self._database, chunk))
        return deleted

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
    """Apply the retention settings in rounds; a round that fails is repeated by the next."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(settings.resolved_database_url, pool_size=1)
        self._pruner = Pruner(self._database, LocalImageStore(settings.images_dir))

    def round(self) -> None:
        """Apply every retention setting once."""
        try:
            jobs = self._retain()
            files = self._pruner.orphans()
            retention.forget_idempotency_keys(self._database, self._settings.idempotency_hours * 3600)
            quotas.delete_old_counters(self._database)
            sessions.delete_ended(self._database)
        except (Unavailable, RenderError) as error:
            logger.warning("retention waits: %s", error.message)
            return
        if jobs or files:
            logger.info("deleted %d jobs past their retention and %d orphan files", jobs, files)

    def _retain(self) -> int:
        jobs = 0
        if self._settings.keep_days:
            jobs += self._pruner.older_than(self._settings.keep_days)
        if self._settings.keep_gigabytes:
            jobs += self._pruner.over(int(self._settings.keep_gigabytes * 1e9))
        return jobs

    def close(self) -> None:
        """Close the database connections."""
        self._database.dispose()
