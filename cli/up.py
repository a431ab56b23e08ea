"""`imagefarm up`: run the whole farm on this machine, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.exit_codes import ExitCode
from cli.options import load_settings
from core.extras import import_without, require_extras

Host = Annotated[str | None, typer.Option(help="Address on which the API and the page listen.", show_default="127.0.0.1")]
Port = Annotated[int | None, typer.Option(help="Port of the API and the page; 0 picks a free one.", show_default="7860")]
FlowerPort = Annotated[int | None, typer.Option(help="Port of Flower; 0 picks a free one.", show_default="5555")]
DataDir = Annotated[
    Path | None, typer.Option(help="Directory for database, images, models and logs.", show_default="./data")
]
Model = Annotated[str | None, typer.Option(help="Model to serve, or several: `a,b`; `imagefarm models list` shows them.")]
Device = Annotated[str | None, typer.Option(help="`auto`, `cpu`, `cuda` or `cuda:N`.", show_default="auto")]
Workers = Annotated[int | None, typer.Option(help="Number of render workers; use one per GPU.", show_default="1")]


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

    Prints its addresses once they answer. A process that dies is restarted. Ctrl-C stops all processes cleanly: running
    jobs finish or return to the queue; a second Ctrl-C stops at once.

    Examples:

    - `imagefarm up`

    - `imagefarm up --port 8000 --model z-image-turbo`

    - `imagefarm up --model z-image-turbo,sd-turbo`

    - `imagefarm up --data-dir /srv/farm --workers 2`

    - `IMAGEFARM_DATABASE_URL=postgresql+psycopg://user:pass@host/db imagefarm up`
    """
    settings = load_settings(
        host=host,
        port=port,
        flower_port=flower_port,
        data_dir=data_dir,
        model=model,
        device=device,
        workers=workers,
    )
    require_extras("server", *(["worker"] if settings.workers else []))
    import_without("redis", "opentelemetry.sdk.metrics")  # 3 MiB; redis-py counts nothing unless asked to
    from supervisor.supervisor import Supervisor

    Supervisor(settings).run()
    return ExitCode.OK
