"""`imagefarm job`: show everything about one job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exit_codes import ExitCode
from cli.options import JOBS_PANEL, AsJson, Url, open_farm

if TYPE_CHECKING:
    from core.schemas.jobs import Attempt, Job, JobHistory, JobHistoryEvent

JobId = Annotated[str, typer.Argument(metavar="ID", help="Id of the job, as `imagefarm jobs` shows it.")]
_INPUT = (
    "model",
    "prompt",
    "negative_prompt",
    "num_inference_steps",
    "guidance_scale",
    "seed",
    "variation_seed",
    "variation_strength",
    "num_images",
    "preset",
)
_WIDTH = 15


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=JOBS_PANEL)(job)


def job(job_id: JobId, url: Url = None, as_json: AsJson = False) -> int:
    """Show one job: its request, why it waits or failed and what to do, its timings, attempts and history.

    Examples:

    - `imagefarm job 0199c0de-0000-7000-8000-000000000001`

    - `imagefarm job 0199c0de-0000-7000-8000-000000000001 --json | jq .status`
    """
    from cli.jobs.output import print_json

    with open_farm(url) as farm:
        found, history = farm.get(job_id), farm.history(job_id)
    if as_json:
        print_json(found, history=history.model_dump(mode="json"))
    else:
        typer.echo("\n".join(_lines(found, history)))
    return ExitCode.OK


def _lines(job: Job, history: JobHistory) -> Iterator[str]:
    from imagefarm.formatting import advice, status_text

    yield _row("job", job.id)
    yield _row("status", f"{job.status}{' (cancel requested)' if job.cancel_requested else ''}")
    if text := status_text(job):
        yield _row("", text)
    if job.error is not None:
        yield _row("error", f"{job.error.code}{', retryable' if job.error.retryable else ''}")
    for sentence in advice(job):
        yield _row("what to do", sentence)
    yield from (_row("note", note) for note in (job.notice, *job.warnings) if note)
    yield from _request_rows(job)
    yield from _timing_rows(job)
    for output in job.outputs:
        yield _row(f"image {output.index}", f"{output.id}  {output.width}x{output.height}  seed {output.seed}")
    if history.attempts:
        yield _row("attempts", f"{job.attempt} of {job.max_attempts}")
        yield from (f"  {_attempt(attempt)}" for attempt in history.attempts)
    yield _row("history", "")
    yield from (f"  {_event(event)}" for event in history.events)


def _request_rows(job: Job) -> Iterator[str]:
    shown = job.input | {"model": job.model}
    yield from (
        _row(name.replace("num_inference_", ""), shown[name]) for name in _INPUT if shown.get(name) not in (None, "")
    )
    yield _row("size", f"{shown.get('width')}x{shown.get('height')}")
    yield _row("priority", job.priority)
    if job.metadata:
        yield _row("metadata", ", ".join(f"{key}={value}" for key, value in job.metadata.items()))


def _timing_rows(job: Job) -> Iterator[str]:
    from imagefarm.formatting import seconds

    spent = {name.removesuffix("_seconds"): value for name, value in job.timings.model_dump().items() if value is not None}
    yield _row("timings", ", ".join(f"{name} {seconds(value)}" for name, value in spent.items()))
    if job.worker:
        yield _row("worker", job.worker)
    if job.parent is not None:
        mode = f", {job.parent.mode}" if job.parent.mode else ""
        yield _row("made from", f"{job.parent.image or job.parent.upload}{mode}")
    if job.retried_from:
        yield _row("retry of", job.retried_from)


def _attempt(attempt: Attempt) -> str:
    from imagefarm.formatting import seconds

    took = seconds((attempt.ended_at - attempt.started_at).total_seconds()) if attempt.ended_at else "not ended"
    why = f": {attempt.error.code}, {attempt.error.message}" if attempt.error else ""
    return f"{attempt.number}. {attempt.worker}, {attempt.outcome or 'running'}, {took}{why}"


def _event(event: JobHistoryEvent) -> str:
    change = f"{event.from_status} -> {event.to_status}" if event.from_status else f"{event.to_status}"
    details = ", ".join(text for text in (event.worker, event.code, event.message) if text)
    return f"{event.at.astimezone():%Y-%m-%d %H:%M:%S}  {change}{f'  ({details})' if details else ''}"


def _row(name: str, value: object) -> str:
    return f"{name.replace('_', ' '):<{_WIDTH}}  {value}".rstrip()
