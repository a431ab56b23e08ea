"""The Typer application with all commands, and the entry point `main`."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from cli import (
    api_keys,
    backup,
    bench,
    cli_docs,
    compare,
    database,
    doctor,
    jobs,
    join,
    loras,
    mcp,
    model_weights,
    models,
    nodes,
    processes,
    prune,
    rate,
    settings_docs,
    storage,
    styles,
    up,
    workers,
)
from cli.exit_codes import MEANINGS, ExitCode, print_message, run_guarded
from cli.text_streams import print_any_text, restart_in_utf8
from core.version import VERSION

HELP = """A render farm for diffusion models on your own machines.

`imagefarm up` starts everything on this machine: API and page, worker, reaper, Flower and, unless you configure your
own, a database and a Redis server. `imagefarm submit "a cat" --save out/` then renders an image.

Settings come from `IMAGEFARM_*` variables or a `.env` file (docs/reference/settings.md). docs/reference/cli.md shows every
command."""

EPILOG = "Exit codes: " + "; ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items()) + "."

app = typer.Typer(
    name="imagefarm",
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (
    up,
    models,
    model_weights,
    doctor,
    jobs,
    loras,
    styles,
    compare,
    rate,
    bench,
    api_keys,
    prune,
    mcp,
    backup,
    storage,
    nodes,
    workers,
    join,
    processes,
    database,
    settings_docs,
    cli_docs,
):
    commands.register(app)


def print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"imagefarm {VERSION}")
        raise typer.Exit


@app.callback()
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
    try:
        result = app(standalone_mode=False)
    except Abort:
        return ExitCode.INTERRUPTED
    except TyperException as error:
        show_usage = getattr(error, "show", None)  # usage errors print the usage line too
        print_message(error.format_message()) if show_usage is None else show_usage()
        return ExitCode.USAGE
    return result if isinstance(result, int) else ExitCode.OK
