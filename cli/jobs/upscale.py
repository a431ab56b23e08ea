"""`imagefarm upscale`: enlarge images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.exit_codes import ExitCode
from cli.options import JOBS_PANEL, AsJson, Url, open_farm
from core.errors import InvalidInput
from core.ids import is_id

if TYPE_CHECKING:
    from core.schemas.jobs import Job
    from imagefarm import ImageFarm


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=JOBS_PANEL)(upscale)


def upscale(
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="PNG, JPEG or WebP files, or ids of images on the farm.", metavar="[FILE|ID]..."),
    ] = None,
    scale: Annotated[int, typer.Option(help="Factor of width and height: 2, 3 or 4.")] = 4,
    upscaler: Annotated[
        str | None, typer.Option(help="An upscaler that --list shows.", show_default="realesrgan-x4plus")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Save the enlarged images into this folder.")] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return as soon as the farm has stored the jobs.")] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Wait at most this many seconds for each job; it continues on the farm.")
    ] = None,
    priority: Annotated[int | None, typer.Option(help="0 to 9; 9 is the most urgent.", show_default="5")] = None,
    show_list: Annotated[bool, typer.Option("--list", help="List the farm's upscalers.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """Enlarge images with a neural network, or by resampling with `--upscaler lanczos`.

    Prints the paths of the saved files; without --save the jobs' ids; with --json the jobs. Several images are one batch.

    Examples:

    - `imagefarm upscale photo.jpg --save out/`

    - `imagefarm upscale 0199c0de-0000-7000-8000-000000000001 --scale 2 --upscaler realesr-animevideov3 --save out/`

    - `imagefarm upscale out/*.png --save large/`
    """
    with open_farm(url) as farm:
        if show_list:
            return _show_list(farm, as_json=as_json)
        if not sources:
            raise InvalidInput("Name a file or an image's id, or list the upscalers with --list.", field="sources")
        jobs = _submit(farm, sources, {"scale": scale, "upscaler": upscaler, "priority": priority})
        if no_wait:
            return _accepted(jobs, as_json=as_json)
        return _wait_and_save(farm, jobs, timeout, save, as_json=as_json)


def _submit(farm: ImageFarm, sources: list[str], fields: dict[str, Any]) -> list[Job]:
    images = [_source(text) for text in sources]
    if len(images) == 1:
        return [farm.upscales.submit(images[0], **fields)]
    batch = farm.upscales.batch(images, **fields)
    return [farm.get(item.job_id) for item in batch.jobs]


def _source(text: str) -> Path | str:
    """Return a file that exists, else the id. Raises InvalidInput for other text."""
    if Path(text).exists():
        return Path(text)
    if is_id(text):
        return text
    raise InvalidInput(f"'{text}' is neither a file nor the id of an image.", field="sources", code="unreadable_file")


def _accepted(jobs: list[Job], *, as_json: bool) -> int:
    from cli.jobs.output import note, print_json

    if as_json:
        print_json(jobs[0]) if len(jobs) == 1 else print_json(jobs)
    else:
        for job in jobs:
            typer.echo(job.id)
    note(f"Accepted. `imagefarm job {jobs[0].id}` shows its progress.")
    return ExitCode.OK


def _wait_and_save(farm: ImageFarm, jobs: list[Job], timeout: float | None, save: Path | None, *, as_json: bool) -> int:
    from cli.jobs.output import print_json, print_notes, print_outcome
    from imagefarm.progress import JobBar

    code, done = ExitCode.OK, []
    for waiting in jobs:
        with JobBar() as bar:
            job = farm.wait(waiting, timeout_seconds=timeout, on_progress=bar.show)
        files = farm.download(job, save) if save is not None else []
        done.append(job)
        if not as_json:
            for line in [str(path) for path in files] or [job.id]:
                typer.echo(line)
        elif len(jobs) == 1:
            print_json(job, **({"files": [str(path) for path in files]} if save is not None else {}))
        print_notes(job)
        code = print_outcome(job, files) or code
    if as_json and len(jobs) > 1:
        print_json(done)
    return code


def _show_list(farm: ImageFarm, *, as_json: bool) -> int:
    from cli.jobs.output import print_json

    found = farm.upscales.upscalers()
    if as_json:
        print_json(found)
        return ExitCode.OK
    for row in found.items:
        where = ", ".join(row.workers) or ("no worker is up" if row.installed else "not installed")
        typer.echo(f"{row.id:<26} x{', x'.join(map(str, row.scales))}  {row.about} ({where})")
    return ExitCode.OK
