"""`imagefarm settings-docs`: generate docs/reference/settings.md from the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from cli.exit_codes import ExitCode
from core.settings import Settings

HEAD = """# Settings

Every setting is an environment variable, or a line of a `.env` file in the directory where the farm is started. The
environment takes precedence over the file, and options of a command over both. `imagefarm settings-docs` generates this
page.

| variable | default | meaning |
|---|---|---|
"""


def register(app: typer.Typer) -> None:
    app.command(name="settings-docs", hidden=True)(settings_docs)


def settings_docs() -> int:
    """Print docs/reference/settings.md for the settings of this version."""
    typer.echo(render(), nl=False)
    return ExitCode.OK


def render() -> str:
    """Return the whole page as Markdown."""
    return HEAD + "".join(_row(name, field) for name, field in Settings.model_fields.items())


def _row(name: str, field: FieldInfo) -> str:
    description = (field.description or "").replace("|", "\\|")
    return f"| `IMAGEFARM_{name.upper()}` | {_default(field.default)} | {description} |\n"


def _default(value: Any) -> str:  # noqa: ANN401 -- any setting's default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value in (None, "", {}, ()):
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value.as_posix() if isinstance(value, Path) else value}`"
