"""The Typer application with all commands, and the entry point `main`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException
from typer.main import get_command

from cli.exit_codes import MEANINGS, ExitCode, print_message, run_guarded
from cli.text_streams import print_any_text, restart_in_utf8
from core.version import VERSION

HELP = """A render farm for diffusion models on your own machines.

`imagefarm up` starts everything on this machine: API and page, worker, reaper, Flower and, unless you configure your
own, a database and a Redis server. `imagefarm submit "a cat" --save out/` then renders an image.

Settings come from `IMAGEFARM_*` variables or a `.env` file (docs/reference/settings.md). docs/reference/cli.md shows every
command."""

EPILOG = "Exit codes: " + "; ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items()) + "."

COMMANDS = (
    "up",
    "models",
    "model_weights",
    "doctor",
    "jobs",
    "loras",
    "styles",
    "compare",
    "rate",
    "bench",
    "api_keys",
    "prune",
    "mcp",
    "backup",
    "storage",
    "nodes",
    "workers",
    "join",
    "processes",
    "database",
    "settings_docs",
    "cli_docs",
)
"""The modules and packages of commands, in the order of the help."""


def make_app(commands: Sequence[str]) -> typer.Typer:
    """Import the modules of commands and return an application that has them."""
    app = typer.Typer(
        name="imagefarm",
        help=HELP,
        epilog=EPILOG,
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name in commands:
        importlib.import_module(f"cli.{name}").register(app)
    app.callback()(before_command)
    return app


@cache
def full_app() -> typer.Typer:
    """Return the application with all commands."""
    return make_app(COMMANDS)


@cache
def full_command() -> Callable[..., object]:
    """Return what runs the application with all commands: to read their signatures takes 0.15 s."""
    return get_command(full_app())


def __getattr__(name: str) -> typer.Typer:
    if name == "app":
        return full_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"imagefarm {VERSION}")
        raise typer.Exit


def before_command(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main() -> int:
    """Run the command that `sys.argv` names; return the exit code and never raise."""
    restart_in_utf8()
    print_any_text()
    return run_guarded(_run)


def _run() -> int:
    # The farm's first process lives as long as the farm: the other commands would take a fifth of its start and memory.
    command = get_command(make_app(["up"])) if sys.argv[1:2] == ["up"] else full_command()
    try:
        result = command(standalone_mode=False)
    except Abort:
        return ExitCode.INTERRUPTED
    except TyperException as error:
        show_usage = getattr(error, "show", None)  # usage errors print the usage line too
        print_message(error.format_message()) if show_usage is None else show_usage()
        return ExitCode.USAGE
    return result if isinstance(result, int) else ExitCode.OK
