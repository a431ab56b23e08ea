"""`imagefarm cancel`: cancel jobs."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.exit_codes import ExitCode
from cli.options import JOBS_PANEL, AsJson, Url, open_farm


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=JOBS_PANEL)(cancel)


def cancel(
    job_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of one or more jobs.")],
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """Cancel jobs: waiting ones at once, running ones at their next step.

    Jobs that have ended do not change. Exit code 1 when an id is unknown; the others are still canceled.

    Examples:

    - `imagefarm cancel 0199c0de-0000-7000-8000-000000000001`

    - `imagefarm cancel $(imagefarm jobs --status queued --limit 500 --json | jq -r '.[].id')`
    """
    from cli.jobs.output import note, print_json
    from core.errors import Gone, NotFound

    found, unknown = [], 0
    with open_farm(url) as farm:
        for job_id in job_ids:
            try:
                found.append(farm.cancel(job_id))
            except (NotFound, Gone) as error:
                unknown += 1
                note(f"{job_id}: {error.message}")
    if as_json:
        print_json(found)
    else:
        for job in found:
            stopping = " (stops at its next step)" if job.status == "running" else ""
            typer.echo(f"{job.id} {job.status}{stopping}")
    return ExitCode.FAILED if unknown else ExitCode.OK
