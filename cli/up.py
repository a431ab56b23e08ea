"""`imagefarm up`: the whole farm on this machine, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.exit_codes import ExitCode
from cli.options import load_settings

Host = Annotated[str | None, typer.Option(help="Address the API and the page listen on.", show_default="127.0.0.1")]
Port = Annotated[int | None, typer.Option(help="Their port; 0 takes a free one.", show_default="7860")]
FlowerPort = Annotated[int | None, typer.Option(help="Flower's port; 0 takes a free one.", show_default="5555")]
DataDir = Annotated[Path | None, typer.Option(help="Where everything is kept.", show_default="./data")]
Model = Annotated[str | None, typer.Option(help="Model to serve; `imagefarm models list` knows them.")]
Device = Annotated[str | None, typer.Option(help="`auto`, `cpu`, `cuda` or `cuda:N`.", show_default="auto")]
Workers = Annotated[int | None, typer.Option(help="Render workers; one for each GPU is right.", show_default="1")]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Start here")(up)


def up(
    host: Host = None,
    port: Port = None,
    flower_port: FlowerPort = None,
    data_dir: DataDir = None,
    model: Model = None,
    device: Device = None,
    workers: Workers = None,
) -> int:
    """Start the whole farm on this machine and stay in the foreground.

    Prints its addresses once they answer. A part that dies is started again. Ctrl-C stops all parts cleanly: running
    jobs finish or go back to the queue; a second Ctrl-C stops at once.

    Examples:

    - `imagefarm up`

    - `imagefarm up --port 8000 --model z-image-turbo`

    - `imagefarm up --data-dir /srv/farm --workers 2`

    - `IMAGEFARM_DATABASE_URL=postgresql+psycopg://user:pass@host/db imagefarm up`
    """
    from supervisor.supervisor import Supervisor

    settings = load_settings(
        host=host,
        port=port,
        flower_port=flower_port,
        data_dir=data_dir,
        model=model,
        device=device,
        workers=workers,
    )
    Supervisor(settings).run()
    return ExitCode.OK
