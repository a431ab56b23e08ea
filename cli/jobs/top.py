"""`imagefarm top`: each worker with its GPU and jobs, live."""

from __future__ import annotations

import typer

from cli.exit_codes import ExitCode
from cli.jobs.live import Every, Once, show_state
from cli.options import JOBS_PANEL, AsJson, Url


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=JOBS_PANEL)(top)


def top(every: Every = 1.0, once: Once = False, url: Url = None, as_json: AsJson = False) -> int:
    """Show each worker with its device, model, jobs, progress, temperature and load, and the queue; stop with Ctrl-C.

    Examples:

    - `imagefarm top`

    - `imagefarm top --json | jq '.workers[] | [.name, .temperature_celsius]'`
    """
    from cli.jobs.top_view import fetch_top, render_top

    show_state(url, fetch_top, render_top, every=every, once=once, as_json=as_json)
    return ExitCode.OK
