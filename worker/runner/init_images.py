"""The pictures that image-to-image jobs start from, out of the store of uploads."""

from __future__ import annotations

from core.errors import NotFound, RenderError, Unavailable
from core.storage import LocalImageStore
from db.tables import Job


class InitImages:
    """Reads what a job's input names; the key was written by the API, never by a user."""

    def __init__(self, store: LocalImageStore) -> None:
        self._store = store

    def of(self, job: Job) -> bytes | None:
        """The encoded picture; None for text-to-image. Raises RenderError when it cannot be read."""
        given = job.input.get("init_image")
        if not given:
            return None
        try:
            return self._store.read(given["key"])
        except NotFound as error:
            raise RenderError("The uploaded picture that this job starts from is gone.", code="invalid_input") from error
        except Unavailable as error:
            raise RenderError(error.message, code="storage_unavailable") from error
