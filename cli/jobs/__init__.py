"""Commands about jobs; all of them use a farm over HTTP through the client."""

from __future__ import annotations

import typer

from cli.jobs import batch, cancel, export, lineage, listing, refine, retry, show, submit, watch


def register(app: typer.Typer) -> None:
    for commands in (submit, batch, refine, lineage, listing, show, cancel, retry, export, watch):
        commands.register(app)
