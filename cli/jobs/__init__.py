"""Commands about jobs; all of them use a farm over HTTP through the client."""

from __future__ import annotations

import typer

from cli.jobs import batch, cancel, export, listing, retry, show, submit, upscale, watch


def register(app: typer.Typer) -> None:
    for commands in (submit, batch, upscale, listing, show, cancel, retry, export, watch):
        commands.register(app)
