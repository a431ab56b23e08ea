"""`imagefarm loras`: list the LoRAs that the farm's jobs may name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.exit_codes import ExitCode
from cli.options import AsJson, Url, open_farm
from cli.tables import folded_table

if TYPE_CHECKING:
    from core.schemas.loras import Lora

group = typer.Typer(no_args_is_help=True, help="List the LoRAs that jobs may name.")


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="loras", rich_help_panel="Start here")


@group.command(name="list")
def list_loras(
    model: Annotated[str | None, typer.Option(help="Show only those that jobs of this model may name.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """Show every LoRA file of the farm: the models that take it, its trigger words, and what is wrong with damaged ones."""
    with open_farm(url) as farm:
        found = farm.loras()
    shown = [lora for lora in found.items if model is None or model in lora.models]
    if as_json:
        typer.echo(found.model_copy(update={"items": shown}).model_dump_json())
    else:
        _show_table(shown)
    return ExitCode.OK


def _show_table(loras: list[Lora]) -> None:
    from rich.console import Console

    table = folded_table("name", "models", "MB", "trigger words", "trained on")
    for lora in loras:
        models = ", ".join(lora.models) or ("unusable" if lora.problem else "none")
        table.add_row(lora.name, models, f"{lora.bytes / 1e6:.1f}", ", ".join(lora.trigger_words), lora.base or "")
    Console().print(table)
    for lora in loras:
        if lora.problem:
            typer.echo(f"{lora.file}: {lora.problem}")
