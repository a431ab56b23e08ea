"""Commands that run one part of a farm each: `api`, `worker`, `reaper`, `model-manager`, `flower`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import part
from cli.options import PARTS_PANEL, load_private_settings, load_settings, needs
from core.errors import InvalidInput
from core.settings import Settings


def register(app: typer.Typer) -> None:
    for command in (api, worker, reaper, model_manager, flower):
        app.command(rich_help_panel=PARTS_PANEL)(command)


@needs("server")
def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> int:
    """Serve the HTTP API and the page.

    Example: `IMAGEFARM_REDIS_URL=redis://redis:6379/0 imagefarm api --port 7860`
    """
    return part.api(_settings(host=host, port=port))


@needs("worker")
def worker(
    model: Annotated[str | None, typer.Option(help="Model to serve, or several with commas between them.")] = None,
    device: Annotated[str | None, typer.Option(help="`auto`, `cpu`, `cuda` or `cuda:N`.")] = None,
    worker_name: Annotated[str | None, typer.Option("--name", help="Name of the worker, unique in the farm.")] = None,
    redis: Annotated[str | None, typer.Option(help="URL of the farm's Redis, as in IMAGEFARM_REDIS_URL.")] = None,
    database: Annotated[str | None, typer.Option(help="URL of its database, as in IMAGEFARM_DATABASE_URL.")] = None,
    storage: Annotated[str | None, typer.Option(help="Where its images are, as in IMAGEFARM_STORAGE_URL.")] = None,
) -> int:
    """Render jobs: one worker holds one model at a time on one device.

    With several models, the first is the default, and the worker loads the others as jobs for them wait.

    On a machine of its own, name the farm's Redis, database and storage. Other users of the machine see passwords on a
    command line: put URLs that have one into the variables or `.env`, or use `imagefarm join`.

    On SIGTERM, running jobs may finish within the drain time; the rest return to the queue. A second SIGTERM stops at once.

    Example: `CUDA_VISIBLE_DEVICES=1 imagefarm worker --model z-image-turbo,sd-turbo`
    """
    places = {"redis_url": redis, "database_url": database, "storage_url": storage}
    return part.worker(_settings(model=model, device=device, worker_name=worker_name, **places))


@needs("server")
def reaper() -> int:
    """Requeue jobs of lost workers and republish lost hints; any number of reapers may run."""
    return part.reaper(_settings())


@needs("worker")
def model_manager() -> int:
    """Pull, verify and remove weights in this machine's models folder when the API asks for it.

    Run it next to workers whose farm's reaper runs elsewhere or without the extra `worker`; `imagefarm up` needs no other.
    """
    from worker.model_manager.manager import run

    return run(load_private_settings())


@needs("server")
def flower(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> int:
    """Run Flower, Celery's monitor, on the farm's queue."""
    return part.flower(_settings(flower_host=host, flower_port=port))


def _settings(**given: object) -> Settings:
    """Return the settings; without a Redis URL, use the Redis of the farm that runs in the same data directory."""
    from supervisor.embedded_redis import url_of_running_farm

    settings = load_private_settings(**given)
    if settings.redis_url:
        return settings
    url = url_of_running_farm(settings)
    if not url:
        raise InvalidInput(
            "No Redis is configured: set IMAGEFARM_REDIS_URL=redis://host:6379/0, or start the whole farm with "
            "`imagefarm up`, which runs a Redis server itself.",
            field="redis_url",
        )
    return load_settings(**{**given, "redis_url": url})
