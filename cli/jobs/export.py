"""`imagefarm export`: pictures out of the farm, into a folder."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exit_codes import ExitCode
from cli.options import JOBS_PANEL, AsJson, Url, open_farm
from core.errors import FarmError, InvalidInput
from core.lifecycle import JobStatus

if TYPE_CHECKING:
    from core.schemas.jobs import Job
    from imagefarm import ImageFarm
    from imagefarm.image_folder import ImageFolder

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=JOBS_PANEL)(export)


def export(
    to: Annotated[Path, typer.Option(help="The folder; made if need be.", metavar="DIR")],
    by_day: Annotated[bool, typer.Option("--by-day", help="A folder for each day in it.")] = False,
    since: Annotated[
        str | None, typer.Option(help="Jobs submitted since: `2026-11-01`, `2026-11-01T08:00`, `12h`, `7d`.", metavar="WHEN")
    ] = None,
    status: Annotated[
        list[JobStatus] | None, typer.Option("--status", help="Of jobs in this state; repeat it.", show_default="succeeded")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    search: Annotated[str | None, typer.Option(help="Words of the prompt.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also what was saved there before and is gone.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """Save pictures as `outputs_YYYYMMDDHHMMSS.png`, `_01`, `_02` ... when several end in one second.

    The name is the moment when the job ended, in this machine's time zone. No image is saved into the same folder twice:
    a hidden list there (`.imagefarm-saved.jsonl`) remembers them, so an interrupted export goes on where it stopped, and
    what you delete stays deleted unless you say --again.

    Examples:

    - `imagefarm export --to pictures`

    - `imagefarm export --to pictures --by-day --since 7d`

    - `imagefarm export --to cats --search cat --model z-image-turbo`
    """
    from imagefarm.image_folder import ImageFolder

    start = parse_moment(since) if since is not None else None
    with open_farm(url) as farm:
        jobs = _oldest_first(farm.jobs(status=status or [JobStatus.SUCCEEDED], model=model, query=search), start)
        count = _save_all(farm, jobs, ImageFolder(to, by_day=by_day), restore=again, quiet=as_json)
    if as_json:
        typer.echo(json.dumps({"directory": str(to)} | vars(count)))
    else:
        typer.echo(f"{count.saved} saved, {count.known} were there, in {to}")
    return ExitCode.FAILED if count.failed else ExitCode.OK


@dataclass
class Count:
    """Images, by what became of them."""

    saved: int = 0
    known: int = 0
    failed: int = 0


def parse_moment(text: str) -> datetime:
    """`7d` before now, or an ISO 8601 moment, in this machine's time zone unless it names one."""
    if match := _AGE.fullmatch(text.strip().lower()):
        return datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: float(match[1])})
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except ValueError:
        raise InvalidInput(
            f"--since '{text}' is no moment: give 2026-11-01, 2026-11-01T08:00, or an age such as 30m, 12h, 7d, 4w."
        ) from None


def _oldest_first(jobs: object, start: datetime | None) -> list[Job]:
    """Jobs with pictures; the farm lists the newest first, so the first that is too old ends it."""
    found: list[Job] = []
    for job in jobs:  # type: ignore[attr-defined]
        if start is not None and job.created_at < start:
            break
        if job.outputs:
            found.append(job)
    return found[::-1]


def _save_all(farm: ImageFarm, jobs: list[Job], folder: ImageFolder, *, restore: bool, quiet: bool) -> Count:
    from rich.console import Console
    from rich.progress import Progress

    from cli.jobs.output import note, print_notices

    print_notices(jobs)
    count, console = Count(), Console(stderr=True)
    with Progress(console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        bar = progress.add_task("saving", total=sum(len(job.outputs) for job in jobs))
        for job in jobs:
            try:
                for saved in farm.save(job, folder, restore=restore):
                    count.saved += saved.new
                    count.known += not saved.new
            except FarmError as error:
                if error.code not in ("gone", "image_not_found", "image_file_missing", "image_damaged"):
                    raise
                count.failed += 1
                note(f"job {job.id}: {error.message}")
            progress.advance(bar, len(job.outputs))
    return count
