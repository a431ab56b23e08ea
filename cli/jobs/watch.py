"""`imagefarm watch`: a live dashboard of the farm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.exit_codes import ExitCode
from cli.options import JOBS_PANEL, AsJson, Url, open_farm

if TYPE_CHECKING:
    from cli.jobs.dashboard import DashboardData


RETRY_SECONDS = 2.0


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=JOBS_PANEL)(watch)


def watch(
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between updates.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print the state once and exit.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """Show workers, the queue, running jobs with their progress, and waiting jobs, live; stop with Ctrl-C.

    Examples:

    - `imagefarm watch`

    - `imagefarm watch --once --json | jq .queue.queued`
    """
    from cli.jobs.dashboard import fetch_dashboard, render_dashboard
    from cli.jobs.live import show_live

    with open_farm(url, RETRY_SECONDS) as farm:
        if once or as_json:
            _show_once(fetch_dashboard(farm), as_json=as_json)
            return ExitCode.OK
        show_live(lambda: render_dashboard(fetch_dashboard(farm)), every)
    return ExitCode.OK


def _show_once(data: DashboardData, *, as_json: bool) -> None:
    if as_json:
        typer.echo(data.model_dump_json())
        return
    from rich.console import Console

    from cli.jobs.dashboard import render_dashboard

    Console().print(render_dashboard(data))
