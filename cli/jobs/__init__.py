"""Commands about jobs; all of them use a farm over HTTP through the client."""

from __future__ import annotations

import typer

from cli.jobs import (
    batch,
    cancel,
    export,
    lineage,
    listing,
    parameters,
    refine,
    rerun,
    retry,
    show,
    submit,
    upscale,
    watch,
)


def register(app: typer.Typer) -> None:
    for commands in (
        submit,
        batch,
        upscale,
        refine,
        lineage,
        listing,
        show,
        cancel,
        retry,
        rerun,
        export,
        parameters,
        watch,
    ):
        commands.register(app)
