"""Options that commands share, settings from them, and the extras a command needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer

from cli.load_settings import load_private_settings, load_settings
from core.extras import require_extras

__all__ = ["load_private_settings", "load_settings"]

if TYPE_CHECKING:
    from imagefarm import ImageFarm


Parameters = ParamSpec("Parameters")


def needs(*extras: str) -> Callable[[Callable[Parameters, int]], Callable[Parameters, int]]:
    """Return a decorator that raises MissingExtra before the command runs; `--help` works without the extras."""

    def decorate(command: Callable[Parameters, int]) -> Callable[Parameters, int]:
        @wraps(command)
        def checked(*args: Parameters.args, **kwargs: Parameters.kwargs) -> int:
            require_extras(*extras)
            return command(*args, **kwargs)

        return checked

    return decorate


JOBS_PANEL = "Jobs"
PARTS_PANEL = "Parts of a farm, each as its own process"
RETRY_SECONDS = 60.0
CLIENT_LABEL = "imagefarm-cli"
"""Fair share is per label: jobs of the command line and of the page get equal shares."""

Url = Annotated[
    str | None,
    typer.Option("--url", help="Address of the farm.", show_default="IMAGEFARM_URL, else this machine", metavar="URL"),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, for scripts.")]


def open_farm(url: str | None, retry_seconds: float = RETRY_SECONDS) -> ImageFarm:
    """Return a client of the farm that `--url` or the settings name. The key comes only from IMAGEFARM_API_KEY."""
    from imagefarm import ImageFarm
    from imagefarm.address import farm_url

    settings = load_settings(url=url)
    key = settings.api_key.get_secret_value()
    return ImageFarm(farm_url(settings), key, retry_seconds=retry_seconds, label=CLIENT_LABEL)
