"""Run a job file: submit, wait for, save and record some rows at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import FarmError, Forbidden, Gone, NotFound, TooManyRequests, Unauthorized, Unavailable
from core.lifecycle import JobStatus
from core.schemas.jobs import Job
from imagefarm.client import ImageFarm
from imagefarm.image_folder import ImageFolder
from imagefarm.job_file.rows import Row
from imagefarm.job_file.state import JobFileState

LEAVE_SECONDS = 1.5
"""How long threads may finish a file when the run is broken off."""
_FATAL = (Unavailable, Unauthorized, Forbidden, TooManyRequests)


@dataclass(frozen=True)
class RowReport:
    """How a row ended. `job` is None when the farm refused it (`error` says why) or when `known`: an earlier run did it."""

    row: Row
    status: JobStatus | None
    job: Job | None = None
    job_id: str | None = None
    files: tuple[Path, ...] = ()
    error: FarmError | None = None
    known: bool = False


class JobFileRun:
    """`on_report` is called by several threads, one at a time, for every row."""

    def __init__(
        self,
        farm: ImageFarm,
        rows: Sequence[Row],
        state: JobFileState,
        *,
        folder: ImageFolder | None,
        in_flight: int,
        on_report: Callable[[RowReport], None],
        on_submit: Callable[[Row, Job], None] = lambda row, job: None,
    ) -> None:
        self._farm = farm
        self._rows = iter(rows)
        self._state = state
        self._folder = folder
        self._on_report = on_report
        self._on_submit = on_submit
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._fatal: BaseException | None = None
        count = max(1, min(in_flight, len(rows)))
        self._threads = [threading.Thread(target=self._work, name=f"batch-{n}", daemon=True) for n in range(count)]

    def run(self) -> None:
        """Until every row has ended. Raises what makes going on pointless, such as a farm that stays away.

        KeyboardInterrupt leaves at once: what the farm has goes on there, and the next run finds it.
        """
        for thread in self._threads:
            thread.start()
        try:
            for thread in self._threads:
                while thread.is_alive():
                    thread.join(0.2)  # in pieces: a join without end would not hear of Ctrl-C on every system
        finally:
            self._leave()
        if self._fatal is not None:
            raise self._fatal

    def _leave(self) -> None:
        self._stop.set()
        end = time.monotonic() + LEAVE_SECONDS
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0))

    def _work(self) -> None:
        while (row := self._next()) is not None:
            try:
                report = self._wait_and_save(row)
            except _FATAL as error:
                self._abort(error)
            except FarmError as error:
                self._tell(RowReport(row, None, error=error))
            except BaseException as error:  # noqa: BLE001 -- raised again by `run`, in the caller's thread
                self._abort(error)
            else:
                self._tell(report)

    def _next(self) -> Row | None:
        with self._lock:
            return None if self._stop.is_set() else next(self._rows, None)

    def _abort(self, error: BaseException) -> None:
        with self._lock:
            if not self._stop.is_set():
                self._fatal = error
            self._stop.set()

    def _tell(self, report: RowReport) -> None:
        with self._lock:
            if not self._stop.is_set():
                self._on_report(report)

    def _wait_and_save(self, row: Row) -> RowReport:
        known = self._state.of(row.identity)
        if known.status is not None and known.job is not None:
            files = self._saved_before(known.job, known.images) if known.status is JobStatus.SUCCEEDED else ()
            return RowReport(row, known.status, job_id=known.job, files=files, known=True)
        job = self._submitted(row, known.job)
        job = self._farm.wait(job)
        files = self._save(job)
        self._state.ended(row.identity, job.status, tuple(output.id for output in job.outputs))
        return RowReport(row, job.status, job, job.id, files)

    def _submitted(self, row: Row, job_id: str | None) -> Job:
        """The row's job: that of an earlier run, else a new one."""
        if job_id is not None:
            try:
                return self._farm.get(job_id)
            except (NotFound, Gone) as error:
                raise type(error)(
                    f"job {job_id}, which an earlier run made on {self._state.url}, is not on {self._farm.url} any more; "
                    "--again begins anew",
                    code=error.code,
                ) from error
        job = self._farm.submit(row.request, idempotency_key=self._state.key(row.identity))
        self._state.submitted(row.identity, job.id)
        with self._lock:
            self._on_submit(row, job)
        return job

    def _save(self, job: Job) -> tuple[Path, ...]:
        if self._folder is None or job.status is not JobStatus.SUCCEEDED:
            return ()
        return tuple(saved.path for saved in self._farm.save(job, self._folder))

    def _saved_before(self, job_id: str, images: tuple[str, ...]) -> tuple[Path, ...]:
        """Files of a row that an earlier run rendered; fetched when this run's folder never had them."""
        if self._folder is None or self._folder.has(images):
            return ()
        return tuple(saved.path for saved in self._farm.save(job_id, self._folder, restore=False))
