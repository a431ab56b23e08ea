"""`imagefarm bench`: measure a farm or this machine."""

from __future__ import annotations

import typer

from cli.bench import scenes

group = typer.Typer(no_args_is_help=True, help="Measure a farm, or this machine without one.")


@group.callback()
def bench() -> None:
    """Measure a farm, or this machine without one."""


def register(app: typer.Typer) -> None:
    scenes.register(group)
    app.add_typer(group, name="bench", rich_help_panel="Start here")
