"""`imagefarm watch` and `imagefarm top`: what the farm reports, once, as JSON, or again and again until Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from pydantic import BaseModel

from cli.exit_codes import ExitCode
from cli.options import JOBS_PANEL, AsJson, Url, open_farm
from core.errors import Unavailable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from imagefarm import ImageFarm

Data = TypeVar("Data", bound=BaseModel)

Every = Annotated[float, typer.Option(min=0.2, help="Seconds between updates.")]
Once = Annotated[bool, typer.Option("--once", help="Print the state once and exit.")]
_RETRY_SECONDS = 2.0


def register(app: typer.Typer) -> None:
    for command in (top, watch):
        app.command(rich_help_panel=JOBS_PANEL)(command)


def top(every: Every = 1.0, once: Once = False, url: Url = None, as_json: AsJson = False) -> int:
    """Show each worker with its device, model, jobs, progress, temperature and load, and the queue; stop with Ctrl-C.

    Examples:

    - `imagefarm top`

    - `imagefarm top --json | jq '.workers[] | [.name, .temperature_celsius]'`
    """
    from cli.jobs.top_view import fetch_top, render_top

    show_state(url, fetch_top, render_top, every=every, once=once, as_json=as_json)
    return ExitCode.OK


def watch(every: Every = 1.0, once: Once = False, url: Url = None, as_json: AsJson = False) -> int:
    """Show workers, the queue, running jobs with their progress, and waiting jobs, live; stop with Ctrl-C.

    Examples:

    - `imagefarm watch`

    - `imagefarm watch --once --json | jq .queue.queued`
    """
    from cli.jobs.dashboard import fetch_dashboard, render_dashboard

    show_state(url, fetch_dashboard, render_dashboard, every=every, once=once, as_json=as_json)
    return ExitCode.OK


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
