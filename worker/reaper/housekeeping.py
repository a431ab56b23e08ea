"""Slow tidying: retention by age and space, orphan files, old idempotency keys."""

from __future__ import annotations

import logging

from core.errors import RenderError, Unavailable
from core.settings import Settings
from core.storage import LocalImageStore
from db import retention
from db.database import Database
from worker.reaper.pruning import Pruner

logger = logging.getLogger(__name__)


class Housekeeping:
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
