"""`imagefarm workers`: list, pause, resume and drain the workers of a farm."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from cli.exit_codes import ExitCode
from cli.options import AsJson, Url, open_farm
from cli.tables import device_of, folded_table
from core.schemas.workers import Worker

group = typer.Typer(
    no_args_is_help=True, help="List, pause, resume and drain workers. Changes need a key with the scope admin."
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `imagefarm workers list` shows it.")]


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="workers", rich_help_panel="Maintenance")


@group.command(name="list")
def list_workers(url: Url = None, as_json: AsJson = False) -> int:
    """Show every worker with its state, model and jobs, and why it claims none.

    Example: `imagefarm workers list --json | jq -r '.items[] | select(.state == "paused").name'`
    """
    with open_farm(url) as farm:
        found = farm.workers()
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        _show(found.items)
    return ExitCode.OK


@group.command()
def pause(name: Name, url: Url = None) -> int:
    """Let a worker finish its jobs and claim no others until `imagefarm workers resume`."""
    with open_farm(url) as farm:
        worker = farm.worker_management.pause(name)
    typer.echo(f"{worker.name} claims no more jobs; it holds {worker.running} now.")
    return ExitCode.OK


@group.command()
def resume(name: Name, url: Url = None) -> int:
    """Let a worker claim jobs again, also after a quarantine."""
    with open_farm(url) as farm:
        worker = farm.worker_management.resume(name)
    typer.echo(f"{worker.name} claims jobs again.")
    return ExitCode.OK


@group.command()
def drain(name: Name, url: Url = None) -> int:
    """Let a worker finish its jobs and stop; what runs it, such as `imagefarm up`, decides whether it starts again."""
    with open_farm(url) as farm:
        worker = farm.worker_management.drain(name)
    typer.echo(f"{worker.name} finishes its {worker.running} jobs and stops.")
    return ExitCode.OK


def _show(workers: list[Worker]) -> None:
    table = folded_table("worker", "state", "device", "model", "running", "message")
    for worker in workers:
        table.add_row(
            Text(worker.name),
            worker.state,
            Text(device_of(worker)),
            Text(worker.model),
            f"{worker.running}/{worker.capacity}",
            Text(worker.message or ""),
        )
    Console().print(table)
