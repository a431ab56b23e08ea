"""Show what a farm reports in the terminal: once, as JSON, or again and again until Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from pydantic import BaseModel

from cli.options import open_farm
from core.errors import Unavailable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from imagefarm import ImageFarm

Data = TypeVar("Data", bound=BaseModel)

Every = Annotated[float, typer.Option(min=0.2, help="Seconds between updates.")]
Once = Annotated[bool, typer.Option("--once", help="Print the state once and exit.")]
_RETRY_SECONDS = 2.0


def show_state(
    url: str | None,
    fetch: Callable[[ImageFarm], Data],
    render: Callable[[Data], RenderableType],
    *,
    every: float,
    once: bool,
    as_json: bool,
) -> None:
    """Show what `fetch` returns for the farm: as JSON once, drawn by `render` once, or drawn every `every` seconds."""
    from rich.console import Console

    with open_farm(url, _RETRY_SECONDS) as farm:
        if as_json:
            typer.echo(fetch(farm).model_dump_json())
        elif once:
            Console().print(render(fetch(farm)))
        else:
            show_live(lambda: render(fetch(farm)), every)


def show_live(draw: Callable[[], RenderableType], every: float) -> None:
    """Draw every `every` seconds. The first call of `draw` may raise Unavailable; later, its message is shown instead."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    try:
        with Live(draw(), console=console, auto_refresh=False, screen=console.is_terminal) as live:
            while True:
                time.sleep(every)
                live.update(_drawn(draw), refresh=True)
    except KeyboardInterrupt:
        return


def _drawn(draw: Callable[[], RenderableType]) -> RenderableType:
    from rich.text import Text

    try:
        return draw()
    except Unavailable as error:
        return Text(error.message, style="red")
