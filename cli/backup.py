"""`imagefarm backup` and `imagefarm restore`: a copy of the whole farm, and a farm from a copy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exit_codes import ExitCode, print_message
from cli.options import AsJson, load_private_settings, needs
from cli.up import DataDir

if TYPE_CHECKING:
    from supervisor.backup_contents import Manifest, Report


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Maintenance")(backup)
    app.command(rich_help_panel="Maintenance")(restore)


@needs("server")
def backup(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="New or empty; it appears when the backup is complete.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Copy the farm's database, images and uploads into a new directory, while the farm runs.

    Run it where the farm's data is: with its IMAGEFARM_DATA_DIR and IMAGEFARM_DATABASE_URL. Postgres needs pg_dump in
    PATH; without it the files are copied, and exit code 1 says that the database is missing. Models, logs and Redis are
    left out.

    Examples:

    - `imagefarm backup /mnt/backup/farm-$(date +%F)`

    - `imagefarm backup backups/monday --json | jq .missing`
    """
    from supervisor.backup import create, is_stored_elsewhere, missing_dump

    settings = load_private_settings(data_dir=data_dir)
    with _progress(quiet=as_json) as report:
        manifest = create(settings, directory, report)
    _print_result("Backed up", manifest, directory, as_json=as_json)
    if manifest.missing:
        print_message(
            f"{_count(len(manifest.missing), 'file')} that the database names could not be found: see manifest.json."
        )
    if is_stored_elsewhere(settings):
        print_message(
            "Images and uploads are where IMAGEFARM_STORAGE_URL says, not in this backup: copy them from there, after it."
        )
    if advice := missing_dump(settings, manifest, directory):
        print_message(advice)
        return ExitCode.FAILED
    return ExitCode.OK


@needs("server")
def restore(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="What `imagefarm backup` wrote.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Put a backup back into a data directory that holds no farm; jobs that waited are rendered by `imagefarm up`.

    Nothing is overwritten: it refuses while a farm runs there, and when a database or images are there already. With
    Postgres, IMAGEFARM_DATABASE_URL names an empty database, and pg_restore must be in PATH.

    Examples:

    - `imagefarm restore /mnt/backup/farm-2026-11-01`

    - `imagefarm restore backups/monday --data-dir /srv/farm`
    """
    from supervisor.restore import restore as put_back

    settings = load_private_settings(data_dir=data_dir)
    with _progress(quiet=as_json) as report:
        manifest = put_back(settings, directory, report)
    _print_result("Restored", manifest, settings.data_dir, as_json=as_json)
    return ExitCode.OK


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Report]:
    """Show a progress bar on a terminal and nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task("checking", total=None)
        yield lambda stage, done, total: progress.update(task, description=stage, completed=done, total=total or None)


def _print_result(done: str, manifest: Manifest, directory: Path, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"directory": str(directory)} | manifest.model_dump(mode="json"), ensure_ascii=False))
        return
    rows = manifest.database.rows
    size = (manifest.files.bytes + (manifest.database.bytes or 0)) / 1e6
    typer.echo(
        f"{done} {_count(rows['jobs'], 'job')} ({rows['queued']} queued), {_count(rows['images'], 'image')} and "
        f"{_count(rows['uploads'], 'upload')}, {size:.1f} MB: {directory}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
