"""`imagefarm top`: each worker with its GPU and jobs, live."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.exit_codes import ExitCode
from cli.options import JOBS_PANEL, AsJson, Url, open_farm

RETRY_SECONDS = 2.0


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=JOBS_PANEL)(top)


def top(
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between updates.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print the state once and exit.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """Show each worker with its device, model, jobs, progress, temperature and load, and the queue; stop with Ctrl-C.

    Examples:

    - `imagefarm top`

    - `imagefarm top --json | jq '.workers[] | [.name, .temperature_celsius]'`
    """
    from rich.console import Console

    from cli.jobs.live import show_live
    from cli.jobs.top_view import fetch_top, render_top

    with open_farm(url, RETRY_SECONDS) as farm:
        if as_json:
            typer.echo(fetch_top(farm).model_dump_json())
        elif once:
            Console().print(render_top(fetch_top(farm)))
        else:
            show_live(lambda: render_top(fetch_top(farm)), every)
    return ExitCode.OK
