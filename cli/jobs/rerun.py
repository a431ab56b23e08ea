"""`imagefarm rerun`: render an image again."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.exit_codes import ExitCode
from cli.options import JOBS_PANEL, AsJson, Url, open_farm


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=JOBS_PANEL)(rerun)


def rerun(
    image_id: Annotated[str, typer.Argument(metavar="IMAGE", help="Id of the image, as `imagefarm job` shows it.")],
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """Render an image again from everything that is stored about it, and print the id of the new job.

    A job that was submitted as strict gives the same bits on the same stack. What differs now, such as the version of
    PyTorch, is printed as notes.

    Example: `imagefarm rerun 0199c0de-0000-7000-8000-000000000001`
    """
    from cli.jobs.output import print_json, print_notes

    with open_farm(url) as farm:
        job = farm.rerun(image_id)
    print_notes(job)
    print_json(job) if as_json else typer.echo(job.id)
    return ExitCode.OK
