"""`imagefarm lineage`: show what an image was made from and what was made from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from cli.exit_codes import ExitCode
from cli.jobs.refine import ImageId
from cli.options import JOBS_PANEL, AsJson, Url, open_farm

if TYPE_CHECKING:
    from core.schemas.refine import Lineage, LineageImage


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=JOBS_PANEL)(lineage)


def lineage(image_id: ImageId, url: Url = None, as_json: AsJson = False) -> int:
    """Show the images that an image was made from, the image, and those made from it, as a tree.

    Example: `imagefarm lineage 0199c0de-0000-7000-8000-000000000001`
    """
    with open_farm(url) as farm:
        found = farm.lineage(image_id)
    typer.echo(found.model_dump_json() if as_json else "\n".join(_lines(found)))
    return ExitCode.OK


def _lines(found: Lineage) -> Iterator[str]:
    for level, image in enumerate(reversed(found.ancestors)):
        yield _line(image, level)
    level = len(found.ancestors)
    yield f"{_line(found.image, level)}  <- this image"
    yield from _below(found, found.image.id, level + 1)
    if found.truncated:
        yield "There are more images than are shown."


def _below(found: Lineage, parent: str, level: int) -> Iterator[str]:
    for image in found.descendants:
        if image.parent == parent:
            yield _line(image, level)
            yield from _below(found, image.id, level + 1)


def _line(image: LineageImage, level: int) -> str:
    facts = "gone" if image.gone else f"{image.width}x{image.height}  seed {image.seed}"
    made = "" if image.parent is None else f"  {image.mode or 'made from the one above'}"
    return f"{'  ' * level}{image.id}  {facts}{made}"
