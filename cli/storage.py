"""`imagefarm storage`: move a farm's images to another place."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from cli.exit_codes import ExitCode, print_message
from cli.options import AsJson
from core.errors import InvalidInput
from core.storage_url import Location, parse_storage_url

group = typer.Typer(no_args_is_help=True, help="Move images and uploads to another folder or bucket.")

_SHOWN = 5


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="storage", rich_help_panel="Maintenance")


@group.command()
def migrate(
    source: Annotated[str, typer.Argument(metavar="FROM", help="Such as `file:///srv/farm`, a data directory.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="Such as `s3://bucket/prefix?endpoint=https://s3.example`.")],
    as_json: AsJson = False,
) -> int:
    """Copy all images and uploads, comparing each copy's checksum with the file's. Deletes nothing.

    Run it again after an interruption: what is there is not copied twice. The farm may run meanwhile: then set
    IMAGEFARM_STORAGE_URL on every machine, restart its parts, and run the command once more for the files that were stored
    in between. Buckets need the extra `s3`.

    Example: `imagefarm storage migrate file:///srv/farm "s3://images?endpoint=https://s3.example:9000"`
    """
    from storage.migrate import Moved
    from storage.migrate import migrate as copy

    places = _location(source, "FROM"), _location(target, "TO")
    if places[0] == places[1]:
        raise InvalidInput("FROM and TO are the same place: name two.")
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=as_json or not console.is_terminal) as progress:
        bar = progress.add_task("copying", total=None)

        def show(moved: Moved) -> None:
            progress.update(bar, description=f"copying: {moved.copied} copied, {moved.present} there")

        moved = copy(*places, show)
    if as_json:
        typer.echo(json.dumps(asdict(moved), ensure_ascii=False))
    else:
        typer.echo(f"Copied {moved.copied} files, {moved.bytes / 1e6:.1f} MB; {moved.present} were there.")
    for name, reason in list(moved.failed.items())[:_SHOWN]:
        print_message(f"{name}: {reason}")
    if not (moved.copied or moved.present or moved.failed):
        print_message("FROM holds no images and no uploads: if the farm has some, correct its address.")
    if moved.failed:
        print_message(f"{len(moved.failed)} files were not copied: run the command again.")
    return ExitCode.FAILED if moved.failed else ExitCode.OK


def _location(url: str, argument: str) -> Location:
    try:
        return parse_storage_url(url)
    except ValueError as error:
        raise InvalidInput(f"{argument}: {error}.") from None
