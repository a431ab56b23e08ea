"""Show a job's progress: a bar with steps and remaining time on a terminal, plain lines elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from core.lifecycle import SETTLED, JobStatus
from core.schemas.jobs import Job
from imagefarm.formatting import status_text


class StepBar:
    """A bar on standard error that is removed at the end."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TimeElapsedColumn())
        self._bar = Progress(*columns, TextColumn("{task.fields[note]}"), console=self._console, transient=True)
        self._task = self._bar.add_task("", total=None, note="")
        self._last_line = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def update(self, description: str, done: float | None, note: str, line: str) -> None:
        """Show progress. `done`: 0 to 1, None when unknown. Without a terminal, print `line` when it changes."""
        if self._console.is_terminal:
            self._bar.update(
                self._task, description=description, completed=done or 0.0, total=None if done is None else 1.0, note=note
            )
        elif line and line != self._last_line:
            self._last_line = line
            self._console.print(line, highlight=False, soft_wrap=True, markup=False)


class JobBar(StepBar):
    """A bar for the progress that `ImageFarm.wait` reports."""

    def show(self, job: Job) -> None:
        """Show the job's current state."""
        self.update(str(job.status), _fraction(job), status_text(job), _line(job))


def _fraction(job: Job) -> float | None:
    if job.status is JobStatus.RUNNING and job.progress is not None:
        return job.progress.value
    return 1.0 if job.status in SETTLED else None


def _line(job: Job) -> str:
    if job.status in SETTLED:
        return ""
    return f"queued: {status_text(job)}" if job.status is JobStatus.QUEUED else f"{job.status} on {job.worker}"
