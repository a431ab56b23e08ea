"""`imagefarm watch`: the farm at a glance, live."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exit_codes import ExitCode
from cli.jobs.connecting import PANEL, AsJson, Url, open_farm
from core.errors import Unavailable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cli.jobs.glance import Glance
    from client import ImageFarm


AWAY_SECONDS = 2.0


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=PANEL)(watch)


def watch(
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """Watch the farm: workers, the queue, running jobs with their steps, and what waits; Ctrl-C ends it.

    Examples:

    - `imagefarm watch`

    - `imagefarm watch --once --json | jq .queue.queued`
    """
    from cli.jobs.glance import glance_at

    with open_farm(url, AWAY_SECONDS) as farm:
        if once or as_json:
            _show_once(glance_at(farm), as_json=as_json)
            return ExitCode.OK
        _watch(farm, every)
    return ExitCode.OK


def _show_once(glance: Glance, *, as_json: bool) -> None:
    if as_json:
        typer.echo(glance.model_dump_json())
        return
    from rich.console import Console

    from cli.jobs.glance import picture_of

    Console().print(picture_of(glance))


def _watch(farm: ImageFarm, every: float) -> None:
    """Until Ctrl-C, which is how it is meant to end."""
    from rich.console import Console
    from rich.live import Live

    from cli.jobs.glance import glance_at, picture_of

    try:
        console = Console()
        with Live(picture_of(glance_at(farm)), console=console, auto_refresh=False, screen=console.is_terminal) as live:
            while True:
                time.sleep(every)
                live.update(_look(farm), refresh=True)
    except KeyboardInterrupt:
        return


def _look(farm: ImageFarm) -> RenderableType:
    """The farm's picture; what is wrong while it is away, since it may come back."""
    from rich.text import Text

    from cli.jobs.glance import glance_at, picture_of

    try:
        return picture_of(glance_at(farm))
    except Unavailable as error:
        return Text(error.message, style="red")
