"""Print results on standard output, and everything meant for people on standard error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

from cli.exit_codes import ExitCode
from core.lifecycle import JobStatus
from core.schemas.jobs import Job
from imagefarm.formatting import advice, seconds, status_text


def note(text: str) -> None:
    """Print a message for people on standard error."""
    typer.echo(text, err=True)


def print_notes(job: Job) -> None:
    """Print the farm's notice about a job, such as that demo images are noise, and its warnings."""
    print_notices([job])
    for text in job.warnings:
        note(f"note: {text}")


def print_notices(jobs: Iterable[Job]) -> None:
    """Print the notices about the images of these jobs, each only once."""
    for text in dict.fromkeys(job.notice for job in jobs if job.notice):
        note(f"note: {text}")


def print_json(value: BaseModel | Sequence[BaseModel], **more: Any) -> None:  # noqa: ANN401 -- JSON values
    """Print one JSON value; add the fields of `more` to an object."""
    if isinstance(value, BaseModel):
        typer.echo(json.dumps(value.model_dump(mode="json") | more, ensure_ascii=False))
    else:
        typer.echo(json.dumps([item.model_dump(mode="json") for item in value], ensure_ascii=False))


def print_outcome(job: Job, files: Sequence[Path]) -> ExitCode:
    """Print how a job ended; return the exit code of the command that waited for it."""
    if job.status is JobStatus.SUCCEEDED:
        timings = job.timings
        seeds = ", ".join(str(output.seed) for output in job.outputs)
        note(
            f"succeeded after {seconds(timings.total_seconds)} (waited {seconds(timings.queued_seconds)}, rendered "
            f"{seconds(timings.rendering_seconds)}) on {job.worker}; seed {seeds}"
        )
        if not files:
            note(f"Save it with `imagefarm export --to DIR`, or see {job.urls.self}.")
        return ExitCode.OK
    note(f"{job.status}: {status_text(job)}".rstrip(": "))
    for sentence in advice(job):
        note(sentence)
    return ExitCode.FAILED
