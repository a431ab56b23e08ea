"""`imagefarm models`: list the catalogue with what is installed here, and pull weights."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exit_codes import ExitCode
from cli.options import AsJson, load_settings, needs

if TYPE_CHECKING:
    from worker.models.pull import PullProgress
    from worker.models.status import ModelStatus

group = typer.Typer(no_args_is_help=True, help="List models and pull their weights.")


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="models", rich_help_panel="Start here")


@group.command(name="list")
@needs("worker")
def list_models(as_json: AsJson = False) -> int:
    """Show every model of the catalogue and whether its weights are on this machine."""
    from core.catalogue import ModelPaths
    from worker.models import status

    found = status.list_models(ModelPaths.of(load_settings()))
    if as_json:
        typer.echo(json.dumps([_as_json(each) for each in found], default=str))
    else:
        _show_table(found)
    return ExitCode.OK


@group.command()
@needs("worker")
def pull(
    model: Annotated[str, typer.Argument(help="A model that `imagefarm models list` shows.", metavar="MODEL")],
    source: Annotated[
        Path | None, typer.Option("--from", help="Import a folder in diffusers' layout instead of downloading.")
    ] = None,
    keep_download: Annotated[bool, typer.Option(help="Keep the downloaded files after the conversion.")] = False,
    again: Annotated[bool, typer.Option(help="Pull even when the model is installed.")] = False,
) -> int:
    """Download a model's weights from the hub, or import them from its cache or a folder; convert them for fast loads.

    An interrupted download resumes. Disk space is checked first.

    Examples:

    - `imagefarm models pull z-image-turbo`

    - `imagefarm models pull sd-turbo --from /mnt/usb/sd-turbo`
    """
    from core.catalogue import ModelPaths, load_catalogue
    from worker.models.pull import PullOptions
    from worker.models.pull import pull as pull_model

    row = load_catalogue().get(model)
    with _PullProgressBars() as bar:
        pulled = pull_model(row, ModelPaths.of(load_settings()), PullOptions(source, keep_download, again), bar.show)
    typer.echo(f"{row.id} {'was already' if pulled.already_here else 'is now'} in {pulled.directory}")
    return ExitCode.OK


def _as_json(status: ModelStatus) -> dict[str, object]:
    """Return the catalogue's row together with what is installed on this machine."""
    here = asdict(status)
    return {**status.model.model_dump(), **{name: here[name] for name in here if name != "model"}}


def _show_table(found: list[ModelStatus]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("model", "here", "download", "licence", "description"):
        table.add_column(heading, overflow="fold")
    for status in found:
        model = status.model
        size = f"{model.weights.download_gigabytes:g} GB" if model.weights.download_gigabytes else "none"
        here = "yes" if status.here else "broken" if status.problems else "no"
        table.add_row(model.id, here, size, model.licence, model.about)
    Console().print(table)
    for status in found:
        for problem in status.problems:
            typer.echo(f"{status.model.id}: {problem}")


class _PullProgressBars:
    """Progress of a pull: one bar per stage on a terminal, plain lines elsewhere."""

    def __enter__(self) -> _PullProgressBars:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._console = Console(stderr=True)
        self._progress = Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[file]}"), console=self._console)
        self._bars: dict[str, int] = {}
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, progress: PullProgress) -> None:
        if progress.stage == "done":
            return
        total = progress.total_bytes or None
        if progress.stage not in self._bars:
            self._bars[progress.stage] = self._progress.add_task(progress.stage, total=total, file="")
            if not self._console.is_terminal:
                self._console.print(f"{progress.stage} {progress.detail}".rstrip())
        task = self._bars[progress.stage]
        self._progress.update(task, completed=progress.done_bytes, total=total, file=progress.detail)  # type: ignore[arg-type]
