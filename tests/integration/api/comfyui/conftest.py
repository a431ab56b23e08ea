"""Fixtures: one API with a simulated worker of each model for all files here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from redis import Redis

from core.settings import Settings
from tests.conftest import Migrate
from tests.integration.api.comfyui.farm import (
    MODELS,
    Farm,
)
from tests.integration.api.running import WorkerSide, serving
from tests.servers.redis import RedisServer
from tests.unit.models.test_lora_facts import write_lora
from tests.unit.models.test_loras import Z_IMAGE


@pytest.fixture(scope="package")
def settings(tmp_path_factory: pytest.TempPathFactory, migrate: Migrate, redis_server: RedisServer) -> Settings:
    """Return the API's settings."""
    folder = tmp_path_factory.mktemp("comfyui")
    url = f"sqlite:///{folder / 'test.db'}"
    migrate(url)
    with Redis.from_url(redis_server.url) as connection:
        connection.flushall()
    given = {"data_dir": folder / "data", "database_url": url, "redis_url": redis_server.url, "redis_prefix": "comfy:"}
    settings = Settings(_env_file=None, **given)  # type: ignore[arg-type]
    write_lora(settings.resolved_models_dir / "loras/style/ink.safetensors", Z_IMAGE)
    return settings


@pytest.fixture(scope="package")
def farm(settings: Settings) -> Iterator[Farm]:
    """Run one API for all tests of this folder."""
    with ExitStack() as stack:
        workers = {model: WorkerSide(settings, model, f"{model}-box") for model in MODELS}
        workers["upscale"] = WorkerSide(settings, "upscale", "upscale-box")
        for side in workers.values():
            stack.callback(side.close)
            side.ready()
        farm = Farm(settings, stack.enter_context(serving(settings)), workers)
        stack.callback(farm.http.close)
        yield farm


@pytest.fixture(autouse=True)
def empty_queue(farm: Farm) -> Iterator[None]:
    yield
    farm.http.post("/interrupt")
    farm.http.post("/queue", json={"clear": True})
    while farm.claimed:
        farm.cancel(*farm.claimed.pop())
    for side in farm.workers.values():
        while (job := side.claim()) is not None:
            side.finish(job)
