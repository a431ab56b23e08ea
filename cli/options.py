"""Options that commands share, settings from them, and the extras a command needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer
from pydantic import SecretStr, ValidationError

from cli.exit_codes import print_message
from core.errors import InvalidInput
from core.extras import require_extras
from core.permissions import keep_private
from core.settings import Settings

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


def load_settings(**given: Any) -> Settings:  # noqa: ANN401 -- values of any setting
    """Return the settings with the given options (None: not given) on top. Raises InvalidInput naming what is wrong."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise InvalidInput(_explain(error)) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"The file .env is not text in UTF-8 ({error.reason} at byte {error.start}): save it as such."
        ) from error


def load_private_settings(**given: Any) -> Settings:  # noqa: ANN401 -- values of any setting
    """Return what `load_settings` does, for a command that writes the farm's data: other users may not read its files."""
    settings = load_settings(**given)
    if note := keep_private(settings):
        print_message(note)
    return settings


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        name = str(problem["loc"][0]) if problem["loc"] else "settings"
        shown = "" if _may_hold_a_password(name) else f" is {problem['input']!r}"
        lines.append(f"IMAGEFARM_{name.upper()}{shown}: {problem['msg'].removeprefix('Value error, ')}")
    return "\n".join([*lines, "All settings are described in docs/reference/settings.md."])


def _may_hold_a_password(setting: str) -> bool:
    field = Settings.model_fields.get(setting)
    return field is None or setting.endswith("url") or field.annotation is SecretStr


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
