"""`imagefarm cli-docs`: docs/reference/cli.md, written from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperArgument
from typer.main import get_command

from cli.exit_codes import MEANINGS, ExitCode

HEAD = """# Commands

Every command explains itself with `--help`; this page is written from the same texts by `imagefarm cli-docs`.

Commands about jobs speak to a farm over HTTP: to IMAGEFARM_URL or `--url`, else to this machine's own at IMAGEFARM_HOST and
IMAGEFARM_PORT. They show it the key in IMAGEFARM_API_KEY. Results go to standard output, everything else to standard error.

| exit code | meaning |
|---|---|
"""


def register(app: typer.Typer) -> None:
    app.command(name="cli-docs", hidden=True)(cli_docs)


def cli_docs() -> int:
    """Print docs/reference/cli.md as the commands have it now."""
    typer.echo(render(), nl=False)
    return ExitCode.OK


def render() -> str:
    """The whole page as Markdown."""
    from cli.main import app

    codes = "".join(f"| {code.value} | {meaning} |\n" for code, meaning in MEANINGS.items())
    commands = "".join(_section(name, command) for name, command in _commands("imagefarm", get_command(app)))
    return f"{HEAD}{codes}{commands}"


def _commands(name: str, group: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 -- Typer's own classes carry no types
    """(full name, command) of every command that is shown, in the order of the help."""
    for short, command in group.commands.items():
        full = f"{name} {short}"
        if hasattr(command, "commands"):
            yield from _commands(full, command)
        elif not command.hidden:
            yield full, command


def _section(name: str, command: Any) -> str:  # noqa: ANN401
    rows = [_row(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)]
    arguments = "".join(f" {_argument(item)}" for item in command.params if isinstance(item, TyperArgument))
    table = "\n".join(["| | |", "|---|---|", *rows]) + "\n" if rows else ""
    usage = f"{name}{' [OPTIONS]' if len(rows) > arguments.count(' ') else ''}{arguments}"
    return f"\n## {name}\n\n{inspect.cleandoc(command.help or '')}\n\n```\n{usage}\n```\n" + (f"\n{table}" if table else "")


def _row(parameter: Any) -> str:  # noqa: ANN401
    default = _default(parameter)
    text = " ".join(f"{parameter.help or ''}{f' Default: {default}.' if default else ''}".split())
    return f"| {_names(parameter)} | {text} |".replace("\\", "\\\\").replace(" | |", " | -- |")


def _names(parameter: Any) -> str:  # noqa: ANN401
    if isinstance(parameter, TyperArgument):
        return f"`{_argument(parameter)}`"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    return names if parameter.is_flag else f"{names} {_kind(parameter)}"


def _kind(parameter: Any) -> str:  # noqa: ANN401
    return str(parameter.metavar or parameter.name.removeprefix("as_")).upper()


def _argument(parameter: Any) -> str:  # noqa: ANN401
    return str(parameter.metavar or parameter.name).upper()


def _default(parameter: Any) -> str:  # noqa: ANN401
    """As the help says it; empty when there is nothing to say."""
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    value = parameter.default
    return "" if value is None or value is False or value == "" or callable(value) or parameter.required else f"`{value}`"
