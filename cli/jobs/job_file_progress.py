"""Show the progress of a job file: a bar, and a line for each row that fails."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cli.jobs.output import note
from core.lifecycle import JobStatus
from core.schemas.jobs import Job
from imagefarm.job_file import Row, RowReport


@dataclass
class Tally:
    """Numbers of rows. `known`: rendered by an earlier run; `open`: on the farm now."""

    succeeded: int = 0
    failed: int = 0
    known: int = 0
    failed_before: int = 0
    open: int = 0
    files: int = 0
    notices: set[str] = field(default_factory=set)

    @property
    def done(self) -> int:
        """Return the number of rows that have ended."""
        return self.succeeded + self.failed + self.known + self.failed_before

    def summary(self, rows: int, save: Path | None) -> str:
        """Return the summary line at the end."""
        parts = [f"{self.succeeded} rendered", *([f"{self.known} were done before"] if self.known else [])]
        parts += [f"{self.failed} failed"] if self.failed else []
        saved = f"; {self.files} images saved in {save}" if save is not None else ""
        return f"{rows} rows: {', '.join(parts)}{saved}"


class JobFileProgress:
    """Shows the reports of a JobFileRun. `print_rows`: print each row as JSON on standard output."""

    def __init__(self, rows: int, *, print_rows: bool) -> None:
        self.tally = Tally()
        self._print_rows = print_rows
        console = Console(stderr=True)
        columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, TextColumn("{task.fields[note]}"), console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=rows, note="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._bar.disable:
            self._bar.stop()

    def submitted(self, row: Row, job: Job) -> None:
        """Count a row that the farm has accepted."""
        self.tally.open += 1
        self._note_once(job.notice)
        self._update()

    def ended(self, report: RowReport) -> None:
        """Count and report a row that has ended."""
        tally, good = self.tally, report.status is JobStatus.SUCCEEDED
        tally.files += len(report.files)
        if report.known:
            tally.known += good
            tally.failed_before += not good
        else:
            tally.open -= report.job is not None and tally.open > 0
            tally.succeeded += good
            tally.failed += not good
        if not good and not report.known:
            self._print_failure(report)
        if self._print_rows:
            self._print(report)
        self._update()

    def _print_failure(self, report: RowReport) -> None:
        row = report.row
        error = report.error or (report.job.error if report.job is not None else None)
        why = error.message if error is not None else ""
        status = report.status or "refused"
        job = f" (job {report.job_id})" if report.job_id else ""
        self._note(f"line {row.line} {status}{job}: {why}".rstrip(": "))

    def _print(self, report: RowReport) -> None:
        error = report.error or (report.job.error if report.job is not None else None)
        row = {
            "line": report.row.line,
            "job": report.job_id,
            "status": report.status or "refused",
            "files": [str(path) for path in report.files],
            "error": {"code": error.code, "message": error.message} if error is not None else None,
        }
        typer.echo(json.dumps(row, ensure_ascii=False))

    def _note_once(self, text: str | None) -> None:
        if text and text not in self.tally.notices:
            self.tally.notices.add(text)
            self._note(f"note: {text}")

    def _note(self, text: str) -> None:
        if self._bar.disable:
            note(text)
        else:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _update(self) -> None:
        failed = f", {self.tally.failed} failed" if self.tally.failed else ""
        self._bar.update(self._task, completed=self.tally.done, note=f"{self.tally.open} on the farm{failed}")
