"""`imagefarm prune`: delete old jobs and images on request."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.progress import Progress

from cli.exit_codes import ExitCode
from cli.options import load_private_settings, needs
from core.errors import InvalidInput


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Maintenance")(prune)


@needs("server")
def prune(
    older_than: Annotated[
        float | None, typer.Option(min=0, help="Delete jobs that ended more than this many days ago.")
    ] = None,
    over: Annotated[
        float | None, typer.Option(min=0, help="Delete the oldest jobs until images take at most this many GB.")
    ] = None,
    orphans: Annotated[
        bool, typer.Option("--orphans", help="Delete files of images and uploads that no row names.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print how many jobs `--older-than` would delete.")
    ] = False,
) -> int:
    """Delete jobs that have ended, with their images. Waiting and running jobs are never deleted.

    The farm keeps jobs and images unless IMAGEFARM_KEEP_DAYS or IMAGEFARM_KEEP_GIGABYTES is set, and uploads that no job
    uses for IMAGEFARM_KEEP_UPLOADS_HOURS.

    Example: `imagefarm prune --older-than 30 --over 200`
    """
    if older_than is None and over is None and not orphans:
        raise InvalidInput("Choose what to delete: --older-than DAYS, --over GB or --orphans.")
    from db import retention
    from db.database import Database
    from storage.stores import open_images, open_uploads
    from worker.reaper.retention import Pruner

    settings = load_private_settings()
    database = Database(settings.resolved_database_url, pool_size=1)
    if dry_run:
        typer.echo(f"{_jobs(retention.delete_count(database, older_than or 0.0))} would be deleted.")
        return ExitCode.OK
    pruner = Pruner(database, open_images(settings), open_uploads(settings))
    deleted = 0
    with Progress(transient=True) as progress:
        if older_than is not None:
            bar = progress.add_task("deleting old jobs", total=retention.delete_count(database, older_than))
            deleted += pruner.older_than(older_than, lambda count: progress.advance(bar, count))
        if over is not None:
            bar = progress.add_task("freeing space", total=None)
            deleted += pruner.over(int(over * 1e9), lambda count: progress.advance(bar, count))
    swept = pruner.orphans() if orphans else 0
    typer.echo(f"Deleted {_jobs(deleted)}" + (f" and {swept} orphan files." if orphans else "."))
    return ExitCode.OK


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"
