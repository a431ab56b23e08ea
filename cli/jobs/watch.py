"""`imagefarm watch`: the farm at a glance, live."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exit_codes import ExitCode
from cli.options import JOBS_PANEL, AsJson, Url, open_farm
from core.errors import Unavailable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cli.jobs.dashboard import DashboardData
    from imagefarm import ImageFarm


AWAY_SECONDS = 2.0


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=JOBS_PANEL)(watch)


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
    from cli.jobs.dashboard import fetch_dashboard

    with open_farm(url, AWAY_SECONDS) as farm:
        if once or as_json:
            _show_once(fetch_dashboard(farm), as_json=as_json)
            return ExitCode.OK
        _watch(farm, every)
    return ExitCode.OK


def _show_once(glance: DashboardData, *, as_json: bool) -> None:
    if as_json:
        typer.echo(glance.model_dump_json())
        return
    from rich.console import Console

    from cli.jobs.dashboard import render_dashboard

    Console().print(render_dashboard(glance))


def _watch(farm: ImageFarm, every: float) -> None:
    """Until Ctrl-C, which is how it is meant to end."""
    from rich.console import Console
    from rich.live import Live

    from cli.jobs.dashboard import fetch_dashboard, render_dashboard

    try:
        console = Console()
        with Live(
            render_dashboard(fetch_dashboard(farm)), console=console, auto_refresh=False, screen=console.is_terminal
        ) as live:
            while True:
                time.sleep(every)
                live.update(_fetch(farm), refresh=True)
    except KeyboardInterrupt:
        return


def _fetch(farm: ImageFarm) -> RenderableType:
    """The farm's picture; what is wrong while it is away, since it may come back."""
    from rich.text import Text

    from cli.jobs.dashboard import fetch_dashboard, render_dashboard

    try:
        return render_dashboard(fetch_dashboard(farm))
    except Unavailable as error:
        return Text(error.message, style="red")
