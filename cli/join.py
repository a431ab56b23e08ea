"""`imagefarm join-command` and `imagefarm join`: let another machine run workers of this farm."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from cli.exit_codes import ExitCode, print_message
from cli.options import load_private_settings, needs
from cli.up import DataDir, Model
from core.errors import FarmError, InvalidInput

_MINUTES = 60.0


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Several machines")(join_command)
    app.command(rich_help_panel="Several machines")(join)


@needs("server")
def join_command(
    url: Annotated[
        str | None,
        typer.Option("--url", help="Address of the API as the machine reaches it.", show_default="IMAGEFARM_JOIN_URL"),
    ] = None,
    minutes: Annotated[float, typer.Option(min=1, max=60 * 24 * 7, help="Time until the token expires.")] = _MINUTES,
    installed: Annotated[
        bool, typer.Option("--installed", help="Print the line for a machine that has imagefarm already.")
    ] = False,
    data_dir: DataDir = None,
) -> int:
    """Print one line that lets another machine join this farm, once; it installs imagefarm there where it is missing.

    Run it on the control box, with the farm's IMAGEFARM_DATA_DIR or IMAGEFARM_DATABASE_URL. The line holds a token: whoever
    runs it first gets the farm's passwords of Redis, database and storage. The machine needs curl and Python 3.11 or later.
    A farm on SQLite and the embedded Redis cannot be joined: the command names the settings to change.

    Example: `ssh gpu2 "$(imagefarm join-command)"`
    """
    from core.join import JoinAddresses
    from db import migrate
    from db.database import Database
    from db.join_tokens import create_token
    from imagefarm.address import farm_url, find_address

    settings = load_private_settings(data_dir=data_dir)
    address = find_address(url or settings.join_url or settings.public_url or farm_url(settings), "", settings)
    JoinAddresses.of(settings).check_before_joining(is_remote=not address.is_loopback)
    migrate.upgrade(settings.resolved_database_url)
    database = Database(settings.resolved_database_url, pool_size=1)
    try:
        token = create_token(database, minutes * 60.0)
    finally:
        database.dispose()
    if installed:
        typer.echo(f"imagefarm join {shlex.quote(address.url)} {token}")
    else:
        script = shlex.quote(f"{address.url}/v1/join/install")
        typer.echo(f"(curl -fsS {script} || echo exit 1) | sh -s -- {token}")
    if address.is_loopback:
        print_message("this address is of this machine only: name the one that others reach with --url http://HOST:7860.")
    elif address.url.startswith("http://"):
        print_message("the farm's passwords travel unencrypted over http: use it inside a private network only, or https.")
    return ExitCode.OK


@needs("worker")
def join(
    url: Annotated[str | None, typer.Argument(metavar="[URL", help="Address of the farm's API.", show_default="")] = None,
    token: Annotated[
        str | None, typer.Argument(metavar="TOKEN]", help="What `imagefarm join-command` printed.", show_default="")
    ] = None,
    device: Annotated[
        str, typer.Option(help="`all`: one worker for each GPU, or one on the CPU without any; or `cpu`, `0`, `0,1`.")
    ] = "all",
    model: Model = None,
    data_dir: DataDir = None,
    check: Annotated[bool, typer.Option("--check", help="Only check what a worker needs; start none.")] = False,
) -> int:
    """Join a farm and run its workers on this machine, in the foreground; workers that die are restarted.

    The addresses and passwords that the farm hands out are kept in `join.json` in the data directory, readable by you alone:
    from then on `imagefarm join` needs no arguments. Ctrl-C or SIGTERM stops the workers; running jobs finish or return to
    the queue.

    Examples:

    - `imagefarm join https://farm.example ifj_...`

    - `imagefarm join --device 0,1 --model z-image-turbo,sd-turbo`
    """
    from supervisor.join import FILE_NAME, find_devices, joined_settings, request_join
    from supervisor.node import NodeSupervisor, NodeUnfit, check_node

    settings = load_private_settings(data_dir=data_dir, model=model)
    devices = find_devices(device)
    if url is not None and token is not None:
        request_join(settings, url, token)
    elif url is not None:
        raise InvalidInput("The token is missing: run the line that `imagefarm join-command` printed on the control box.")
    joined = joined_settings(settings, lambda found: load_private_settings(data_dir=data_dir, model=model, **found))
    try:
        check_node(joined)
    except NodeUnfit:
        raise
    except FarmError as error:  # It may name a setting, which is not where a machine that has joined takes it from.
        error.message += (
            f" This machine has the farm's addresses and passwords from {settings.data_dir / FILE_NAME}: if they have "
            "changed, run the line of a new `imagefarm join-command` here."
        )
        raise
    if check:
        typer.echo(f"This machine can work for the farm on {', '.join(each.label for each in devices)}.")
        return ExitCode.OK
    return ExitCode.OK if NodeSupervisor(joined, devices).run() else ExitCode.FAILED
