"""The farm that a command speaks to, and the options that all of them share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.settings import load_settings

if TYPE_CHECKING:
    from client import ImageFarm

PANEL = "Jobs"
PATIENCE_SECONDS = 60.0
LABEL = "imagefarm-cli"
"""Under this name the command line's jobs get their fair share beside the page's."""

Url = Annotated[
    str | None,
    typer.Option("--url", help="The farm's address.", show_default="IMAGEFARM_URL, else this machine", metavar="URL"),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, for scripts.")]


def open_farm(url: str | None, patience_seconds: float = PATIENCE_SECONDS) -> ImageFarm:
    """A client of the farm that `--url` or the settings name; its key comes from IMAGEFARM_API_KEY alone."""
    from client import ImageFarm
    from client.address import farm_url

    settings = load_settings(url=url)
    key = settings.api_key.get_secret_value()
    return ImageFarm(farm_url(settings), key, patience_seconds=patience_seconds, label=LABEL)
