"""Commands about jobs, for whoever has work for a farm; all of them speak to it through the client."""

from __future__ import annotations

import typer

from cli.jobs import batch, cancel, export, listing, retry, show, submit, watch


def register(app: typer.Typer) -> None:
    for commands in (submit, batch, listing, show, cancel, retry, export, watch):
        commands.register(app)
