"""A job's way on the terminal: a bar with steps and time left; plain lines where there is no terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from cli.jobs.words import standing
from core.lifecycle import SETTLED, JobStatus
from core.schemas.job import Job


class JobBar:
    """Shows what `ImageFarm.wait` reports of one job, on standard error."""

    def __enter__(self) -> Self:
        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TimeElapsedColumn())
        self._bar = Progress(*columns, TextColumn("{task.fields[note]}"), console=self._console, transient=True)
        self._task = self._bar.add_task("", total=None, note="")
        self._said = ""
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def show(self, job: Job) -> None:
        """One report."""
        if self._console.is_terminal:
            done, total = _share(job)
            self._bar.update(self._task, description=str(job.status), completed=done, total=total, note=standing(job))
        elif job.status not in SETTLED and self._said != (line := _line(job)):
            self._said = line
            self._console.print(line, highlight=False, soft_wrap=True, markup=False)


def _share(job: Job) -> tuple[float, float | None]:
    """(done, total); no total means that nobody can tell."""
    if job.status is JobStatus.RUNNING and job.progress is not None:
        return job.progress.value, 1.0
    return (1.0, 1.0) if job.status in SETTLED else (0.0, None)


def _line(job: Job) -> str:
    return f"{job.status}: {standing(job)}" if job.status is JobStatus.QUEUED else f"{job.status} on {job.worker}"
