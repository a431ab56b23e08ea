"""`imagefarm watch`: a live dashboard of the farm."""

from __future__ import annotations

import typer

from cli.exit_codes import ExitCode
from cli.jobs.live import Every, Once, show_state
from cli.options import JOBS_PANEL, AsJson, Url


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=JOBS_PANEL)(watch)


def watch(every: Every = 1.0, once: Once = False, url: Url = None, as_json: AsJson = False) -> int:
    """Show workers, the queue, running jobs with their progress, and waiting jobs, live; stop with Ctrl-C.

    Examples:

    - `imagefarm watch`

    - `imagefarm watch --once --json | jq .queue.queued`
    """
    from cli.jobs.dashboard import fetch_dashboard, render_dashboard

    show_state(url, fetch_dashboard, render_dashboard, every=every, once=once, as_json=as_json)
    return ExitCode.OK
