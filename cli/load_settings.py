"""Settings with the options of a command on top, and messages about wrong ones; without Typer, which parts do not need."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr, ValidationError

from cli.exit_codes import print_message
from core.errors import InvalidInput
from core.permissions import keep_private
from core.settings import Settings


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
