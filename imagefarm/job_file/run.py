"""Run a job file: submit, wait for, save and record several rows at a time."""

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

FINISH_SECONDS = 1.5
"""Time for threads to finish writing a file when the run is interrupted."""
_FATAL = (Unavailable, Unauthorized, Forbidden, TooManyRequests)


@dataclass(frozen=True)
class RowReport:
    """How a row ended. `job` is None when the farm refused the row (see `error`) or an earlier run finished it (`known`)."""

    row: Row
    status: JobStatus | None
    job: Job | None = None
    job_id: str | None = None
    files: tuple[Path, ...] = ()
    error: FarmError | None = None
    known: bool = False


class JobFileRun:
    """A run of a job file. Calls `on_report` for every row, from several threads but one at a time."""

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
        self._threads = [threading.Thread(target=self._run_rows, name=f"batch-{n}", daemon=True) for n in range(count)]

    def run(self) -> None:
        """Return once every row has ended. Raises errors that affect all rows, such as a farm that stays unavailable.

        KeyboardInterrupt returns at once: submitted jobs continue on the farm, and the next run finds them.
        """
        for thread in self._threads:
            thread.start()
        try:
            for thread in self._threads:
                while thread.is_alive():
                    thread.join(0.2)  # with a timeout: on some systems Ctrl-C does not interrupt a join without one
        finally:
            self._join_threads()
        if self._fatal is not None:
            raise self._fatal

    def _join_threads(self) -> None:
        self._stop.set()
        end = time.monotonic() + FINISH_SECONDS
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0))

    def _run_rows(self) -> None:
        while (row := self._next_row()) is not None:
            try:
                report = self._render(row)
            except _FATAL as error:
                self._abort(error)
            except FarmError as error:
                self._report(RowReport(row, None, error=error))
            except BaseException as error:  # noqa: BLE001 -- `run` raises it in the caller's thread
                self._abort(error)
            else:
                self._report(report)

    def _next_row(self) -> Row | None:
        with self._lock:
            return None if self._stop.is_set() else next(self._rows, None)

    def _abort(self, error: BaseException) -> None:
        with self._lock:
            if not self._stop.is_set():
                self._fatal = error
            self._stop.set()

    def _report(self, report: RowReport) -> None:
        with self._lock:
            if not self._stop.is_set():
                self._on_report(report)

    def _render(self, row: Row) -> RowReport:
        known = self._state.of(row.identity)
        if known.status is not None and known.job is not None:
            files = self._saved_before(known.job, known.images) if known.status is JobStatus.SUCCEEDED else ()
            return RowReport(row, known.status, job_id=known.job, files=files, known=True)
        job = self._submit_or_find(row, known.job)
        job = self._farm.wait(job)
        files = self._save(job)
        self._state.ended(row.identity, job.status, tuple(output.id for output in job.outputs))
        return RowReport(row, job.status, job, job.id, files)

    def _submit_or_find(self, row: Row, job_id: str | None) -> Job:
        """Return the job of an earlier run, else submit a new one."""
        if job_id is not None:
            try:
                return self._farm.get(job_id)
            except (NotFound, Gone) as error:
                raise type(error)(
                    f"job {job_id}, which an earlier run submitted to {self._state.url}, no longer exists on "
                    f"{self._farm.url}; start over with --again",
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
        """Save the images of a row that an earlier run rendered, unless this folder had them before."""
        if self._folder is None or self._folder.has(images):
            return ()
        return tuple(saved.path for saved in self._farm.save(job_id, self._folder, restore=False))
