"""`imagefarm styles`: list, add, change, remove, import and export the farm's styles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.exit_codes import ExitCode
from cli.options import AsJson, Url, open_farm
from cli.tables import folded_table

if TYPE_CHECKING:
    from core.schemas.styles import Style
    from core.styles.files import StyleFormat
    from imagefarm import ImageFarm

group = typer.Typer(no_args_is_help=True, help="Keep styles: named texts that jobs add to their prompts.")
Shared = Annotated[bool, typer.Option("--shared", help="For every caller; needs the scope admin.")]
Format = Annotated[
    Literal["a1111", "fooocus"] | None,
    typer.Option(help="a1111 is CSV, fooocus JSON.", show_default="by the file's name"),
]


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="styles", rich_help_panel="Start here")


@group.command(name="list")
def list_styles(url: Url = None, as_json: AsJson = False) -> int:
    """Show your own styles, the shared ones and the built-in ones."""
    with open_farm(url) as farm:
        found = farm.styles.list()
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        _show_table(found.items)
    return ExitCode.OK


@group.command()
def add(
    name: Annotated[str, typer.Argument(help="Name by which jobs refer to it.")],
    prompt: Annotated[str, typer.Option(help="Text of the prompt; `{prompt}` marks where a job's prompt goes.")] = "",
    negative: Annotated[str, typer.Option("--negative", help="Text of the negative prompt.")] = "",
    shared: Shared = False,
    url: Url = None,
) -> int:
    """Add a style, such as `imagefarm styles add ink --prompt "ink drawing of {prompt}"`."""
    with open_farm(url) as farm:
        typer.echo(farm.styles.add(name, prompt, negative, shared=shared).id)
    return ExitCode.OK


@group.command()
def change(
    name: Annotated[str, typer.Argument(help="Name of the style.")],
    new_name: Annotated[str | None, typer.Option("--name", help="New name.", show_default="as it is")] = None,
    prompt: Annotated[str | None, typer.Option(help="New text of the prompt.", show_default="as it is")] = None,
    negative: Annotated[
        str | None, typer.Option("--negative", help="New text of the negative prompt.", show_default="as it is")
    ] = None,
    shared: Annotated[bool, typer.Option("--shared", help="The shared one of this name.")] = False,
    url: Url = None,
) -> int:
    """Change a style's name or texts. Jobs keep the texts that they were submitted with."""
    with open_farm(url) as farm:
        style = _find(farm, name, "shared" if shared else "own")
        texts = (style.prompt if prompt is None else prompt, style.negative_prompt if negative is None else negative)
        farm.styles.replace(style, new_name or style.name, *texts)
    return ExitCode.OK


@group.command()
def remove(
    name: Annotated[str, typer.Argument(help="Name of the style.")],
    shared: Annotated[bool, typer.Option("--shared", help="The shared one of this name.")] = False,
    url: Url = None,
) -> int:
    """Delete a style. Jobs keep the texts that they were submitted with."""
    with open_farm(url) as farm:
        farm.styles.remove(_find(farm, name, "shared" if shared else "own"))
    return ExitCode.OK


@group.command(name="import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A1111's styles.csv, or a JSON file of Fooocus.", metavar="FILE")],
    format: Format = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace styles of the same name.")] = False,
    shared: Shared = False,
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """Import all styles of a file, or none when one of them is invalid."""
    text = _read(file)
    with open_farm(url) as farm:
        found = farm.styles.import_text(text, format or _format_of(file), replace=replace, shared=shared)
    if as_json:
        typer.echo(found.model_dump_json())
        return ExitCode.OK
    kept = f", {len(found.kept)} kept as they were (--replace replaces them)" if found.kept else ""
    typer.echo(f"{len(found.added)} added, {len(found.replaced)} replaced{kept}")
    return ExitCode.OK


@group.command()
def export(
    file: Annotated[Path, typer.Argument(help="The file to write; .json for Fooocus, else A1111's CSV.", metavar="FILE")],
    format: Format = None,
    scope: Annotated[Literal["own", "shared", "all"], typer.Option(help="Which styles.")] = "own",
    url: Url = None,
) -> int:
    """Write styles to a file that A1111 or Fooocus reads."""
    from core.errors import InvalidInput

    with open_farm(url) as farm:
        text = farm.styles.export(format or _format_of(file), scope)
    try:
        file.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise InvalidInput(f"Could not write '{file}': {error.strerror or error}.", code="unwritable_file") from error
    typer.echo(str(file))
    return ExitCode.OK


def _find(farm: ImageFarm, name: str, scope: str) -> Style:
    from core.errors import NotFound

    for style in farm.styles.list().items:
        if (style.name, style.scope) == (name, scope):
            return style
    raise NotFound(f"There is no {scope} style '{name}': `imagefarm styles list` shows them.", code="style_not_found")


def _format_of(file: Path) -> StyleFormat:
    return "fooocus" if file.suffix.lower() == ".json" else "a1111"


def _read(file: Path) -> str:
    from core.errors import InvalidInput

    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"Could not read '{file}': {error.strerror or error}.", code="unreadable_file") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"'{file}' is not UTF-8 text: save it as UTF-8.", code="unreadable_file") from error


def _show_table(styles: list[Style]) -> None:
    from rich.console import Console

    table = folded_table("name", "whose", "prompt", "negative prompt")
    for style in styles:
        table.add_row(style.name, style.scope, style.prompt, style.negative_prompt)
    Console(markup=False).print(table)
