"""`imagefarm cli-docs`: generate docs/reference/cli.md from the commands."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperArgument

from cli.exit_codes import MEANINGS, ExitCode

HEAD = """# Commands

Every command describes itself with `--help`; `imagefarm cli-docs` generates this page from the same texts.

Commands about jobs talk to a farm over HTTP: at `--url` or IMAGEFARM_URL, else on this machine at IMAGEFARM_HOST and
IMAGEFARM_PORT. They send the key in IMAGEFARM_API_KEY. Results go to standard output, everything else to standard error.

Commands about jobs need only `pip install .` in a checkout. Others need the extra `server` or `worker`, `up` needs `all`;
without it they end with exit code 8 and the command that installs it.

| exit code | meaning |
|---|---|
"""


def register(app: typer.Typer) -> None:
    app.command(name="cli-docs", hidden=True)(cli_docs)


def cli_docs(context: typer.Context) -> int:
    """Print docs/reference/cli.md for the commands of this version."""
    typer.echo(render(context.find_root().command), nl=False)
    return ExitCode.OK


def render(root: Any) -> str:  # noqa: ANN401 -- Typer's own classes carry no types
    """Return the whole page as Markdown; `root` is the application's click command."""
    codes = "".join(f"| {code.value} | {meaning} |\n" for code, meaning in MEANINGS.items())
    commands = "".join(_section(name, command) for name, command in _commands("imagefarm", root))
    return f"{HEAD}{codes}{commands}"


def _commands(name: str, group: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Yield (full name, command) of every visible command, in the order of the help."""
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
    """Return the default as the help shows it; empty when there is none."""
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    value = parameter.default
    return "" if value is None or value is False or value == "" or callable(value) or parameter.required else f"`{value}`"
