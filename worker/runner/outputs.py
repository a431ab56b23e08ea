"""Let every finished image appear in the folder of outputs, on a thread of its own: a bad folder harms no job."""

from __future__ import annotations

import logging
import queue
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from core.errors import FarmError, NotFound
from core.settings import Settings
from core.storage import ImageStore, export_file, link_file
from core.storage.local import describe_os_error
from db.tables import Job
from storage.stores import open_images
from worker.runner.worker_state import WorkerState

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 5.0
MAX_WAITING = 10_000
"""Images that may wait for a slow folder; further ones are left out."""


@dataclass(frozen=True)
class _Finished:
    key: str
    moment: datetime
    extension: str


class OutputsFolder:
    """Adds the images of committed jobs to a folder. `add` returns at once, and nothing here raises.

    Why images are left out shows in the log and in the worker's message until one can be written again.
    """

    def __init__(self, directory: Path, store: ImageStore, state: WorkerState, *, by_day: bool = False) -> None:
        self._directory, self._store, self._state, self._by_day = directory, store, state, by_day
        self._waiting: queue.Queue[_Finished | None] = queue.Queue(MAX_WAITING)
        self._problem: str | None = None
        self._left_out = 0
        self._thread = threading.Thread(target=self._run, name="outputs", daemon=True)
        self._thread.start()

    @classmethod
    def of(cls, settings: Settings, state: WorkerState) -> OutputsFolder | None:
        """Return the folder that the settings name; None when they name none."""
        if settings.outputs_dir is None:
            return None
        return cls(settings.outputs_dir, open_images(settings), state, by_day=settings.outputs_by_day)

    def add(self, job: Job, keys: list[str]) -> None:
        """Add the images of a succeeded job, whose keys are in order; their names are the time at which it ended."""
        moment = datetime.fromtimestamp(job.completed_at, UTC) if job.completed_at is not None else datetime.now(UTC)
        for key in keys:
            try:
                self._waiting.put_nowait(_Finished(key, moment, key.rpartition(".")[2]))
            except queue.Full:
                self._failed("the folder is too slow")

    def close(self) -> None:
        """Wait a few seconds until all images that were added are there."""
        try:
            self._waiting.put(None, timeout=CLOSE_SECONDS)
        except queue.Full:
            return
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while (finished := self._waiting.get()) is not None:
            try:
                self._write(finished)
            except Exception as error:
                logger.exception("could not write to the folder of outputs")
                self._failed(f"{type(error).__name__}: {error}")

    def _write(self, finished: _Finished) -> None:
        source = self._store.local_path(finished.key)
        if source is None:
            self._download(finished)
            return
        try:
            link_file(self._directory, source, finished.moment, extension=finished.extension, by_day=self._by_day)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not source.exists():
                logger.info("image %s was deleted before it was added to the outputs", finished.key)
                return
            self._failed(describe_os_error(error))
            return
        self._written()

    def _download(self, finished: _Finished) -> None:
        """Save an image of a store that shares no files with this machine."""
        try:
            data = self._store.read(finished.key)
            export_file(self._directory, data, finished.moment, extension=finished.extension, by_day=self._by_day)
        except NotFound:
            logger.info("image %s was deleted before it was added to the outputs", finished.key)
        except FarmError as error:
            self._failed(error.message)
        else:
            self._written()

    def _written(self) -> None:
        if self._problem is not None:
            logger.info("the folder of outputs works again; %d images were left out", self._left_out)
            self._problem, self._left_out = None, 0
            self._state.note(None)

    def _failed(self, reason: str) -> None:
        self._left_out += 1
        if reason != self._problem:
            self._problem = reason
            logger.error(
                "images are left out of the folder of outputs %s: %s. Jobs are not affected; `imagefarm export --to %s` "
                "saves the images later.",
                *(self._directory, reason, self._directory),
            )
        self._state.note(f"outputs folder: {reason}. Images left out of it: {self._left_out}; jobs are not affected."[:2000])
