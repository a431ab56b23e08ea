"""Settings for a command: the environment and `.env`, with what was given on the command line on top."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from core.errors import InvalidInput
from core.settings import Settings


def load_settings(**given: Any) -> Settings:  # noqa: ANN401 -- values of any setting
    """Settings with the options that were given (None: not given); raises InvalidInput naming what is wrong."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise InvalidInput(_explain(error)) from error


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        name = str(problem["loc"][0]) if problem["loc"] else "settings"
        lines.append(f"IMAGEFARM_{name.upper()} is {problem['input']!r}: {problem['msg']}")
    return "\n".join([*lines, "All settings are described in docs/settings.md."])
