"""`imagefarm export`: save images of the farm into a folder or a zip."""

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
from core.imagefile.encoding import ImageFormat
from core.lifecycle import JobStatus
from core.storage.archive import MetadataKind

if TYPE_CHECKING:
    from core.schemas.jobs import Job
    from imagefarm import ImageFarm
    from imagefarm.image_folder import ImageFolder

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=JOBS_PANEL)(export)


def export(
    to: Annotated[Path | None, typer.Option(help="Target folder; created if missing.", metavar="DIR")] = None,
    zip_file: Annotated[
        Path | None, typer.Option("--zip", help="Write one zip instead, with metadata in it.", metavar="FILE")
    ] = None,
    batch: Annotated[str | None, typer.Option(help="Only images of this batch.", metavar="ID")] = None,
    image: Annotated[
        list[str] | None, typer.Option("--image", help="Only this image; repeat it for several. Needs --zip.", metavar="ID")
    ] = None,
    by_day: Annotated[bool, typer.Option("--by-day", help="Save into a subfolder per day.")] = False,
    since: Annotated[
        str | None,
        typer.Option(help="Only jobs submitted since: `2026-11-01`, `2026-11-01T08:00`, `12h`, `7d`.", metavar="WHEN"),
    ] = None,
    status: Annotated[
        list[JobStatus] | None,
        typer.Option("--status", help="Only jobs with this status; repeat it for several.", show_default="succeeded"),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only jobs of this model.")] = None,
    search: Annotated[str | None, typer.Option(help="Only jobs whose prompt contains these words.")] = None,
    format: Annotated[ImageFormat | None, typer.Option(help="Convert the images. Needs --zip.")] = None,
    metadata: Annotated[MetadataKind, typer.Option(help="File of metadata in the zip.")] = "jsonl",
    min_rating: Annotated[
        int | None, typer.Option(min=1, max=5, help="Only images with so many stars or more. Needs --zip.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Save images again that were saved there before and deleted.")
    ] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """Save images as `outputs_YYYYMMDDHHMMSS.png`, with `_01`, `_02` ... when several jobs end in the same second.

    Name a folder (--to) or a zip (--zip). The name is the time when the job ended, in this machine's time zone, in a zip in
    the farm's. No image is saved into the same folder twice: a hidden index there (`.imagefarm-saved.jsonl`) lists them, so
    an interrupted export resumes, and images that you delete stay deleted unless you pass --again.

    Examples:

    - `imagefarm export --to images`

    - `imagefarm export --to images --by-day --since 7d`

    - `imagefarm export --to cats --search cat --model z-image-turbo`

    - `imagefarm export --zip grid.zip --batch 0199c0de-0000-7000-8000-000000000001 --metadata csv`

    - `imagefarm export --zip week.zip --since 7d --by-day --format webp`
    """
    from imagefarm.image_folder import ImageFolder

    start = parse_time(since) if since is not None else None
    query: dict[str, object] = {}
    if zip_file is not None and to is None and not again and not status:
        query |= {"batch": batch, "image": image, "model": model, "q": search, "min_rating": min_rating, "format": format}
        query |= {
            "layout": "by-day" if by_day else "flat",
            "since": start.isoformat() if start else None,
            "metadata": metadata,
        }
        return _save_zip(zip_file, query, url, as_json=as_json)
    if to is None or zip_file is not None:
        raise InvalidInput("Name either --to DIR or --zip FILE; --again and --status belong to --to.")
    if image or format or min_rating or metadata != "jsonl":
        raise InvalidInput("--image, --format, --metadata and --min-rating need --zip FILE.")
    if batch is not None and (since or status or model or search):
        raise InvalidInput("--batch names all its images: leave out the filters, or use --zip.")
    with open_farm(url) as farm:
        if batch is not None:
            jobs = [farm.get(item.job_id) for item in farm.batches.get(batch).jobs if item.outputs]
        else:
            jobs = _oldest_first(farm.jobs(status=status or [JobStatus.SUCCEEDED], model=model, query=search), start)
        count = _save_all(farm, jobs, ImageFolder(to, by_day=by_day), restore=again, quiet=as_json)
    if as_json:
        typer.echo(json.dumps({"directory": str(to)} | vars(count)))
    else:
        typer.echo(f"Saved in {to}: {count.saved} new, {count.known} were saved before.")
    return ExitCode.FAILED if count.failed else ExitCode.OK


def _save_zip(file: Path, query: dict[str, object], url: str | None, *, as_json: bool) -> int:
    with open_farm(url) as farm:
        size = farm.export(file, **query)
    typer.echo(json.dumps({"file": str(file), "bytes": size}) if as_json else f"{size / 1e6:.1f} MB written to {file}")
    return ExitCode.OK


@dataclass
class Count:
    """Numbers of images: saved now, saved before, and failed."""

    saved: int = 0
    known: int = 0
    failed: int = 0


def parse_time(text: str) -> datetime:
    """Parse an age such as `7d`, or an ISO 8601 time, in this machine's time zone unless it names one."""
    if match := _AGE.fullmatch(text.strip().lower()):
        return datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: float(match[1])})
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except ValueError:
        raise InvalidInput(
            f"--since '{text}' is not a time: use 2026-11-01, 2026-11-01T08:00, or an age such as 30m, 12h, 7d, 4w."
        ) from None


def _oldest_first(jobs: object, start: datetime | None) -> list[Job]:
    """Return jobs with images, oldest first. The farm lists the newest first: stop at the first job that is too old."""
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
