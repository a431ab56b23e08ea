"""`imagefarm retry`: run a job again."""

from __future__ import annotations

import typer

from cli.exit_codes import ExitCode
from cli.jobs.show import JobId
from cli.options import JOBS_PANEL, AsJson, Url, open_farm


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=JOBS_PANEL)(retry)


def retry(job_id: JobId, url: Url = None, as_json: AsJson = False) -> int:
    """Run a job again.

    A held job is requeued with the same id; any other job that has ended is submitted again as a new job. Prints the id.

    Example: `imagefarm retry 0199c0de-0000-7000-8000-000000000001`
    """
    from cli.jobs.output import note, print_json, print_notes

    with open_farm(url) as farm:
        job = farm.retry(job_id)
    print_notes(job)
    print_json(job) if as_json else typer.echo(job.id)
    note("The job is queued again." if job.id == job_id else f"Submitted as a new job, a retry of {job_id}.")
    return ExitCode.OK
