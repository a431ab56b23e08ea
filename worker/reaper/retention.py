"""Delete data past its retention: rows and files of old jobs and unused uploads, orphan files, old keys, ended sessions."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from core.errors import RenderError, Unavailable
from core.settings import Settings
from core.storage import ImageStore
from db import comfyui, quotas, retention, sessions
from db.database import Database
from storage.stores import open_images, open_uploads

ORPHAN_SECONDS = 3600.0
"""Age from which a file without a row is an orphan: until then its row may be about to be written after an outage."""
CHUNK = 500


class Pruner:
    """Delete settled jobs with their images, unused uploads, and files that no row names.

    Rows are deleted before their files: when that is interrupted, a file without a row is left, and `orphans` deletes it.
    """

    def __init__(self, database: Database, store: ImageStore, uploads: ImageStore) -> None:
        self._database = database
        self._store = store
        self._uploads = uploads

    def older_than(self, days: float, on_batch: Callable[[int], object] = lambda _: None) -> int:
        """Delete jobs that settled more than `days` ago; return how many. `on_batch` gets the number of each batch."""
        return self._delete_while(lambda: retention.delete_older(self._database, days), on_batch)

    def over(self, limit_bytes: int, on_batch: Callable[[int], object] = lambda _: None) -> int:
        """Delete the oldest jobs with images until all images fit into `limit_bytes`; return how many jobs."""
        return self._delete_while(lambda: retention.delete_over(self._database, limit_bytes), on_batch)

    def unused_uploads(self, hours: float) -> int:
        """Delete uploads that are older and that no job uses; return how many."""
        deleted = 0
        while keys := retention.delete_unused_uploads(self._database, hours):
            _delete_files(self._uploads, keys)
            deleted += len(keys)
        return deleted

    def orphans(self, older_than_seconds: float = ORPHAN_SECONDS) -> int:
        """Delete files of images and uploads that no row names; return how many."""
        return self._orphans_of(self._store, retention.unknown_keys, older_than_seconds) + self._orphans_of(
            self._uploads, retention.unknown_upload_keys, older_than_seconds
        )

    def _orphans_of(
        self, store: ImageStore, unknown: Callable[[Database, list[str]], set[str]], older_than_seconds: float
    ) -> int:
        deleted = store.sweep_partial(older_than_seconds)
        keys = store.iter_keys(older_than_seconds)
        while chunk := list(itertools.islice(keys, CHUNK)):
            deleted += _delete_files(store, unknown(self._database, chunk))
        return deleted

    def _delete_while(self, delete_batch: Callable[[], retention.Deleted], on_batch: Callable[[int], object]) -> int:
        jobs = 0
        while (deleted := delete_batch()).jobs:
            _delete_files(self._store, deleted.keys)
            jobs += deleted.jobs
            on_batch(deleted.jobs)
        return jobs


def _delete_files(store: ImageStore, keys: Collection[str]) -> int:
    return sum(store.delete(key) for key in keys)


def sweep_spool(folder: Path, older_than_seconds: float = ORPHAN_SECONDS) -> int:
    """Delete results that no engine has written to for that long, left by killed processes; return how many."""
    latest, deleted = time.time() - older_than_seconds, 0
    for file in folder.glob("*.*") if folder.is_dir() else ():
        with suppress(OSError):
            if file.stat().st_mtime < latest:
                file.unlink()
                deleted += 1
    return deleted


logger = logging.getLogger(__name__)


class RetentionRound:
    """Apply the retention settings in rounds; a round that fails is repeated by the next."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(settings.resolved_database_url, pool_size=1)
        self._pruner = Pruner(self._database, open_images(settings), open_uploads(settings))

    def round(self) -> None:
        """Apply every retention setting once."""
        try:
            jobs, uploads = self._retain(), self._retain_uploads()
            files = self._pruner.orphans() + sweep_spool(self._settings.spool_dir)
            retention.forget_idempotency_keys(self._database, self._settings.idempotency_hours * 3600)
            quotas.delete_old_counters(self._database)
            sessions.delete_ended(self._database)
        except (Unavailable, RenderError) as error:
            logger.warning("retention waits: %s", error.message)
            return
        if jobs or uploads or files:
            logger.info("deleted %d jobs and %d uploads past their retention, %d orphan files", jobs, uploads, files)

    def _retain(self) -> int:
        jobs = 0
        if self._settings.keep_days:
            jobs += self._pruner.older_than(self._settings.keep_days)
            comfyui.forget_older(self._database, self._settings.keep_days)
        if self._settings.keep_gigabytes:
            jobs += self._pruner.over(int(self._settings.keep_gigabytes * 1e9))
        return jobs

    def _retain_uploads(self) -> int:
        hours = self._settings.keep_uploads_hours
        return self._pruner.unused_uploads(hours) if hours else 0

    def close(self) -> None:
        """Close the database connections."""
        self._database.dispose()
