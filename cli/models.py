"""`imagefarm models`: list the catalogue with what is installed here, and pull weights."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exit_codes import ExitCode, print_message
from cli.options import AsJson, load_private_settings, load_settings, needs
from cli.tables import folded_table

if TYPE_CHECKING:
    from core.catalogue import CatalogueModel, FarmCatalogue
    from core.catalogue.catalogue import Component
    from core.catalogue.weight_dirs import Scan
    from worker.models.pull import PullProgress
    from worker.models.status import ModelStatus

group = typer.Typer(no_args_is_help=True, help="List models, add your own, and pull weights.")


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="models", rich_help_panel="Start here")


@group.command(name="list")
@needs("worker")
def list_models(as_json: AsJson = False) -> int:
    """Show every model of the catalogue and whether its weights are on this machine."""
    from core.catalogue import ModelPaths, catalogue_of
    from worker.models import status

    settings = load_settings()
    catalogue = catalogue_of(settings)
    found = status.list_models(ModelPaths.of(settings), catalogue)
    if as_json:
        rows = [_as_json(each) | {"source": catalogue.source_of(each.model.id)} for each in found]
        typer.echo(json.dumps(rows, default=str))
    else:
        _show_table(found)
        _show_own(found, catalogue)
    for problem in catalogue.problems:
        print_message(problem)
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
    from core.catalogue import ModelPaths, catalogue_of
    from worker.models.pull import PullOptions
    from worker.models.pull import pull as pull_model

    settings = load_settings()
    row = catalogue_of(settings).get(model)
    if row.folder or row.files:
        print_message(f"{row.id} uses your files in place: there is nothing to pull.")
        return ExitCode.OK
    with PullProgressBars() as bar:
        pulled = pull_model(row, ModelPaths.of(settings), PullOptions(source, keep_download, again), bar.show)
    typer.echo(f"{row.id} {'was already' if pulled.already_here else 'is now'} in {pulled.directory}")
    return ExitCode.OK


@group.command()
def add(
    source: Annotated[
        str, typer.Argument(help="A weight file, a folder, or a repository of the hub.", metavar="PATH_OR_REPO")
    ],
    name: Annotated[str | None, typer.Option(help="The model's name; made from the file's name otherwise.")] = None,
    text_encoder: Annotated[Path | None, typer.Option(help="File of the text encoder.")] = None,
    text_encoder_2: Annotated[
        Path | None, typer.Option("--text-encoder-2", help="File of the second text encoder, for SDXL.")
    ] = None,
    vae: Annotated[Path | None, typer.Option(help="File of the VAE.")] = None,
    base: Annotated[
        str | None, typer.Option(help="The shipped model whose defaults and limits it gets.", metavar="MODEL")
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the files into the models folder.")] = False,
) -> int:
    """Add a model of your own: say what the weights are, and write a row into `models.toml` of the data folder.

    Only headers are read, so this takes a second for any size. The files stay where they are unless you pass `--copy`.

    Examples:

    - `imagefarm models add ~/z_image_turbo-Q8_0.gguf --text-encoder ~/qwen_3_4b.safetensors --vae ~/ae.safetensors`

    - `imagefarm models add ~/dreamshaper_8.safetensors --name dreamshaper`

    - `imagefarm models add Lykon/dreamshaper-8 --base sd15`
    """
    from core.catalogue.add_model import AddOptions, add_model

    given: dict[Component, Path | None] = {"text_encoder": text_encoder, "text_encoder_2": text_encoder_2, "vae": vae}
    named = {component: path for component, path in given.items() if path is not None}
    added = add_model(load_private_settings(), source, AddOptions(name, named, base, copy))
    for sentence in added.sentences:
        typer.echo(sentence)
    typer.echo(f"Added {added.row.id}. Start a worker for it: imagefarm worker --model {added.row.id}")
    return ExitCode.OK


@group.command()
def remove(model: Annotated[str, typer.Argument(help="A model that you added.", metavar="MODEL")]) -> int:
    """Remove a model that you added from the list. Its files stay where they are."""
    from core.catalogue.add_model import remove_model

    for sentence in remove_model(load_settings(), model):
        typer.echo(sentence)
    return ExitCode.OK


@group.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="A weight file, or a folder in diffusers' layout.")], as_json: AsJson = False
) -> int:
    """Say what a weight file is: model, components, precision. Reads its header only."""
    from core.catalogue.recognise import recognise

    found = recognise(path.expanduser().absolute())
    typer.echo(json.dumps(asdict(found), default=str) if as_json else found.sentence)
    return ExitCode.FAILED if found.kind == "unknown" else ExitCode.OK


@group.command()
def files(as_json: AsJson = False) -> int:
    """List the weight files in the folders of IMAGEFARM_WEIGHTS_DIRS with sizes, and the models that they make."""
    from core.catalogue import catalogue_of

    found = catalogue_of(load_settings(), fresh=True).scan
    if as_json:
        listed = {folder: [asdict(file) for file in group] for folder, group in found.files.items()}
        models = [{"id": model.row.id, "files": model.row.files} for model in found.models]
        unmatched = [{"path": each.file.path, "reason": each.reason} for each in found.unmatched]
        answer = {"files": listed, "models": models, "unmatched": unmatched, "problems": found.problems}
        typer.echo(json.dumps(answer, default=str))
        return ExitCode.OK
    _show_files(found)
    return ExitCode.OK


def _show_files(found: Scan) -> None:
    from core.catalogue.weight_dirs import line_of

    for folder, files in found.files.items():
        if files:
            typer.echo(f"{folder}/")
        for file in files:
            typer.echo(f"  {line_of(file)}")
    for model in found.models:
        parts = ", ".join(f"{component} {path.name}" for component, path in model.row.files.items())
        typer.echo(f"model {model.row.id}: {parts}")
    for each in found.unmatched:
        typer.echo(f"no model: {each.reason}")
    for problem in found.problems:
        print_message(problem)
    if not any(found.files.values()) and not found.problems:
        typer.echo("There are no weight files: set IMAGEFARM_WEIGHTS_DIRS to folders like ComfyUI's models/.")


def _show_own(found: list[ModelStatus], catalogue: FarmCatalogue) -> None:
    """Show the places of the user's weights, one line for each file."""
    for status in found:
        source = catalogue.source_of(status.model.id)
        if source == "shipped":
            continue
        where = "added" if source == "added" else "found in a weights folder"
        typer.echo(f"{status.model.id} ({where}):")
        for component, path in status.model.files.items():
            typer.echo(f"  {component}: {path}")
        if status.model.folder:
            typer.echo(f"  folder: {status.model.folder}")
        if status.model.weights.repo:
            typer.echo(f"  repository: {status.model.weights.repo}")


def _as_json(status: ModelStatus) -> dict[str, object]:
    """Return the catalogue's row together with what is installed on this machine."""
    here = asdict(status)
    return {**status.model.model_dump(), **{name: here[name] for name in here if name != "model"}}


def _show_table(found: list[ModelStatus]) -> None:
    from rich.console import Console

    table = folded_table("model", "here", "download", "licence", "description")
    for status in found:
        model = status.model
        size = _download_size(model)
        here = "yes" if status.here else "broken" if status.problems else "no"
        table.add_row(model.id, here, size, model.licence, model.about)
    Console().print(table)
    for status in found:
        for problem in status.problems:
            typer.echo(f"{status.model.id}: {problem}")


def _download_size(model: CatalogueModel) -> str:
    if model.weights.download_gigabytes:
        return f"{model.weights.download_gigabytes:g} GB"
    return "unknown" if model.weights.repo else "none"


class PullProgressBars:
    """Progress of a pull: one bar per stage on a terminal, plain lines elsewhere."""

    def __enter__(self) -> PullProgressBars:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._console = Console(stderr=True)
        self._progress = Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[file]}"), console=self._console)
        self._bars: dict[str, int] = {}
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars:  # Without any, it would print an empty line.
            self._progress.stop()

    def show(self, progress: PullProgress) -> None:
        if progress.stage == "done":
            return
        total = progress.total_bytes or None
        if not self._bars:
            self._progress.start()
        if progress.stage not in self._bars:
            self._bars[progress.stage] = self._progress.add_task(progress.stage, total=total, file="")
            if not self._console.is_terminal:
                self._console.print(f"{progress.stage} {progress.detail}".rstrip())
        task = self._bars[progress.stage]
        self._progress.update(task, completed=progress.done_bytes, total=total, file=progress.detail)  # type: ignore[arg-type]
