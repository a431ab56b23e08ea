"""`imagefarm nodes`: list, drain, resume and remove the machines of a farm."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from cli.exit_codes import ExitCode
from cli.options import AsJson, Url, open_farm
from cli.tables import device_of, folded_table
from core.schemas.nodes import Node

group = typer.Typer(
    no_args_is_help=True, help="List, drain, resume and remove machines. Changes need a key with the scope admin."
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `imagefarm nodes list` shows it.")]


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="nodes", rich_help_panel="Maintenance")


@group.command(name="list")
def list_nodes(url: Url = None, as_json: AsJson = False) -> int:
    """Show every machine with its workers, what they do, and why they do not.

    Example: `imagefarm nodes list --json | jq -r '.items[] | select(.state == "lost").name'`
    """
    with open_farm(url) as farm:
        found = farm.nodes.list()
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        _show(found.items)
    return ExitCode.OK


@group.command()
def drain(name: Name, url: Url = None) -> int:
    """Let a machine finish its jobs and claim no others, also after a restart, until `imagefarm nodes resume`."""
    with open_farm(url) as farm:
        node = farm.nodes.drain(name)
    typer.echo(f"{node.name} claims no more jobs; it holds {node.running} now.")
    return ExitCode.OK


@group.command()
def resume(name: Name, url: Url = None) -> int:
    """Let a machine claim jobs again, also after a quarantine."""
    with open_farm(url) as farm:
        node = farm.nodes.resume(name)
    typer.echo(f"{node.name} claims jobs again.")
    return ExitCode.OK


@group.command()
def remove(name: Name, url: Url = None) -> int:
    """Let a machine's workers finish their jobs and stop; `imagefarm join` on it ends then.

    Workers that have ended leave the lists at once. Run it again for those that had to stop first. A machine that keeps its
    join.json comes back when something starts `imagefarm join` there again, such as systemd at its next boot.
    """
    with open_farm(url) as farm:
        done = farm.nodes.remove(name)
    if done.stopping:
        typer.echo(f"These finish their jobs and stop: {', '.join(done.stopping)}.")
    if done.removed:
        typer.echo(f"Removed: {', '.join(done.removed)}.")
    return ExitCode.OK


def _show(nodes: list[Node]) -> None:
    table = folded_table("machine", "as a whole", "worker", "state", "device", "running", "version", "message")
    for node in nodes:
        for index, worker in enumerate(node.workers):
            table.add_row(
                Text("" if index else node.name),
                "" if index else node.state,
                Text(worker.name),
                worker.state,
                Text(device_of(worker)),
                str(worker.running),
                worker.version or "",
                Text(worker.message or ""),
            )
    Console().print(table)
