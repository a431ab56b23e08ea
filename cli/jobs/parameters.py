"""`imagefarm parameters`: show how an image was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cli.exit_codes import ExitCode
from cli.options import JOBS_PANEL, AsJson, Url, open_farm


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=JOBS_PANEL)(parameters)


def parameters(
    file: Annotated[Path, typer.Argument(help="A PNG, JPEG or WebP.", metavar="FILE")],
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """Show how an image was made, as fields of a job, and what no field stands for.

    Reads images of this farm, A1111 (Forge, SD.Next), ComfyUI, InvokeAI, Fooocus, NovelAI and Civitai. Exit code 1 when
    the image does not say.

    Examples:

    - `imagefarm parameters fox.png`

    - `imagefarm parameters fox.png --json | jq .fields`
    """
    from cli.jobs.output import note, print_json

    with open_farm(url) as farm:
        found = farm.parameters(file)
    for warning in found.warnings:
        note(f"note: {warning}")
    if as_json:
        print_json(found)
    else:
        _print(found.source, found.fields, found.unmapped)
    return ExitCode.OK if found.source is not None else ExitCode.FAILED


def _print(source: str | None, fields: dict[str, object], unmapped: dict[str, object]) -> None:
    if source is None:
        return
    typer.echo(f"source: {source}")
    for name, value in fields.items():
        typer.echo(f"{name}: {_shown(value)}")
    for name, value in unmapped.items():
        typer.echo(f"(not mapped) {name}: {_shown(value)}")


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
