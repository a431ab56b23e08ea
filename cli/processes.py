"""The farm's parts one by one, for those who run them apart: `api`, `worker`, `reaper`, `flower`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import load_settings
from core.errors import InvalidInput
from core.settings import Settings

PANEL = "Parts, for running them apart"


def register(app: typer.Typer) -> None:
    for command in (api, worker, reaper, flower):
        app.command(rich_help_panel=PANEL)(command)


def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> int:
    """Serve the HTTP API and the page.

    Example: `IMAGEFARM_REDIS_URL=redis://redis:6379/0 imagefarm api --port 7860`
    """
    from cli.serve import serve_api

    return serve_api(_settings(host=host, port=port))


def worker(
    model: Annotated[str | None, typer.Option(help="Model to serve.")] = None,
    device: Annotated[str | None, typer.Option(help="`auto`, `cpu`, `cuda` or `cuda:N`.")] = None,
    worker_name: Annotated[str | None, typer.Option("--name", help="Its name, unique in the farm.")] = None,
) -> int:
    """Render jobs: one worker holds one model on one device.

    SIGTERM lets running jobs finish within the drain time, else gives them back; a second one stops at once.

    Example: `CUDA_VISIBLE_DEVICES=1 imagefarm worker --model z-image-turbo`
    """
    from worker.worker_process import run

    return run(_settings(model=model, device=device, worker_name=worker_name))


def reaper() -> int:
    """Put right what dead workers and lost messages left behind; any number may run."""
    from worker.reaper.main import run

    return run(_settings())


def flower(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> int:
    """Show the queue in Flower, Celery's monitor."""
    from supervisor.flower.main import run

    return run(_settings(flower_host=host, flower_port=port))


def _settings(**given: object) -> Settings:
    """Settings of a part: its Redis is the given one, else that of the farm that runs in the same data directory."""
    from supervisor.embedded_redis import url_of_running_farm

    settings = load_settings(**given)
    if settings.redis_url:
        return settings
    url = url_of_running_farm(settings)
    if not url:
        raise InvalidInput(
            "No Redis to talk to: set IMAGEFARM_REDIS_URL=redis://host:6379/0, or start the whole farm with "
            "`imagefarm up`, which brings its own.",
            field="redis_url",
        )
    return load_settings(**{**given, "redis_url": url})
