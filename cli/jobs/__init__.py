"""Commands about jobs, for whoever has work for a farm; all of them speak to it through the client."""

from __future__ import annotations

import typer

from cli.jobs import cancel, export, listing, retry, show, submit


def register(app: typer.Typer) -> None:
    for commands in (submit, listing, show, cancel, retry, export):
        commands.register(app)
