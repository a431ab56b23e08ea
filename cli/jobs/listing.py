"""`imagefarm jobs`: list the farm's jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.exit_codes import ExitCode
from cli.options import JOBS_PANEL, AsJson, Url, open_farm
from core.lifecycle import JobKind, JobStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from core.schemas.jobs import Job

_STATUSES = f"{', '.join(JobStatus)}; repeat it for several."
Statuses = Annotated[list[JobStatus] | None, typer.Option("--status", help=_STATUSES)]


def register(app: typer.Typer) -> None:
    app.command(name="jobs", rich_help_panel=JOBS_PANEL)(list_jobs)


def list_jobs(
    status: Statuses = None,
    model: Annotated[str | None, typer.Option(help="Only jobs of this model.")] = None,
    kind: Annotated[JobKind | None, typer.Option(help="Only jobs that do this.")] = None,
    search: Annotated[str | None, typer.Option(help="Only jobs whose prompt contains these words.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of jobs, newest first.")] = 20,
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """List jobs, newest first.

    Examples:

    - `imagefarm jobs`

    - `imagefarm jobs --status running --status queued`

    - `imagefarm jobs --status failed --limit 100 --json | jq -r '.[].id' | xargs -n1 imagefarm retry`
    """
    from cli.jobs.output import note, print_json

    with open_farm(url) as farm:
        found = list(farm.jobs(status=status or (), model=model, kind=kind, query=search, limit=limit))
    if as_json:
        print_json(found)
    elif found:
        from rich.console import Console

        Console().print(table_of(found))
    else:
        note('No jobs. Submit one: imagefarm submit "a cat"')
    return ExitCode.OK


def table_of(jobs: Sequence[Job]) -> Table:
    """Return a table with one row per job."""
    from rich.table import Table
    from rich.text import Text

    from imagefarm.formatting import COLOURS, ago, one_line

    table = Table(box=None, pad_edge=False, header_style="bold")
    # The first two columns are never cut: ids are copied from here.
    for heading, width in (("job", 36), ("status", 9), ("age", 4), ("model", 6)):
        table.add_column(heading, no_wrap=True, min_width=width)
    table.add_column("size", no_wrap=True)
    table.add_column("prompt", no_wrap=True, overflow="ellipsis", ratio=1)
    for job in jobs:
        size = f"{job.input.get('width')}x{job.input.get('height')}"
        status = Text(job.status, style=COLOURS[job.status])
        table.add_row(job.id, status, ago(job.created_at), job.model, size, Text(one_line(str(job.input.get("prompt", "")))))
    return table
