"""`imagefarm rate`: rate images."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.exit_codes import ExitCode
from cli.options import JOBS_PANEL, Url, open_farm


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=JOBS_PANEL)(rate)


def rate(
    rating: Annotated[int, typer.Argument(min=0, max=5, help="1 to 5; 0 removes a rating.")],
    images: Annotated[list[str], typer.Argument(help="Ids of images.", metavar="IMAGE...")],
    url: Url = None,
) -> int:
    """Rate images with 1 to 5. A batch shows the mean of its ratings for each value of its axes."""
    with open_farm(url) as farm:
        for image in images:
            farm.rate(image, rating or None)
    typer.echo(f"{len(images)} rated {rating}" if rating else f"{len(images)} no longer rated")
    return ExitCode.OK
