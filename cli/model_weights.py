"""`imagefarm models verify` and `imagefarm models remove-weights`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exit_codes import ExitCode
from cli.models import PullProgressBars, group
from cli.options import AsJson, load_settings, needs

if TYPE_CHECKING:
    from worker.models.verify import Verified

Model = Annotated[str, typer.Argument(help="A model that `imagefarm models list` shows.", metavar="MODEL")]
_GIGABYTE = 10**9


def register(_: typer.Typer) -> None:
    """Add the commands to `imagefarm models`."""
    group.command()(verify)
    group.command(name="remove-weights")(remove_weights)


@needs("worker")
def verify(model: Model, as_json: AsJson = False) -> int:
    """Read every weight file of a model and compare its SHA-256 with what was recorded when it was pulled.

    Files in the hub's cache are compared with the hub's own checksums. Other files are recorded at their first check. Reads
    all bytes, which takes a minute for 30 GB on a fast disk. Exit code 1: a file is damaged.
    """
    from core.catalogue import ModelPaths, catalogue_of
    from worker.models.verify import verify as verify_model

    settings = load_settings()
    row = catalogue_of(settings).get(model)
    with PullProgressBars() as bars:
        found = verify_model(row, ModelPaths.of(settings), bars.show)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
    else:
        _show(row.id, found)
    return ExitCode.FAILED if found.state == "damaged" else ExitCode.OK


@needs("worker")
def remove_weights(model: Model) -> int:
    """Delete what pulls and loads have written for a model in the models folder; the model stays listed.

    Your own files, named folders and the hub's cache stay. Stop the model's workers first.
    """
    from core.catalogue import ModelPaths, catalogue_of
    from worker.models.remove_weights import remove_weights as remove

    settings = load_settings()
    row = catalogue_of(settings).get(model)
    removed = remove(row, ModelPaths.of(settings))
    what = ", ".join(removed.folders) or "nothing"
    typer.echo(f"Removed {what} of {row.id}: {removed.freed_bytes / _GIGABYTE:.1f} GB are free again.")
    return ExitCode.OK


def _show(model_id: str, found: Verified) -> None:
    for file in found.files:
        if file.sentence:
            typer.echo(f"{file.state}: {file.name} {file.sentence}")
    for problem in found.problems:
        typer.echo(problem)
    counts = {state: sum(file.state == state for file in found.files) for state in ("ok", "unknown", "damaged")}
    typer.echo(f"{model_id}: {counts['ok']} files are ok, {counts['unknown']} recorded now, {counts['damaged']} damaged")
