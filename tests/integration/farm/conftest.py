"""Farms of real processes with the synthetic renderer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from benchmarks.faults.parts import FarmParts
from db.migrate import upgrade
from tests.integration.farm.client import Client
from tests.servers.redis import RedisServer

StartFarm = Callable[..., FarmParts]


@contextmanager
def _farm(directory: Path, database_url: str, workers: int, settings: dict[str, str]) -> Iterator[FarmParts]:
    upgrade(database_url)
    redis = RedisServer(directory / "redis").start()
    farm = FarmParts(directory / "farm", database_url, redis, workers, settings)
    try:
        yield farm.start()
    finally:
        farm.destroy()
        redis.stop()


@pytest.fixture
def start_farm(tmp_path: Path, fresh_sqlite: str) -> Iterator[StartFarm]:
    """Start farms with their own Redis; settings by their short names, such as `lease_seconds=2`."""
    with ExitStack() as stack:

        def start(workers: int = 1, database_url: str = fresh_sqlite, **settings: object) -> FarmParts:
            given = {f"IMAGEFARM_{name.upper()}": str(value) for name, value in settings.items()}
            return stack.enter_context(_farm(tmp_path, database_url, workers, given))

        yield start


@pytest.fixture
def client_of() -> Iterator[Callable[[FarmParts], Client]]:
    """Return clients of farms, closed after the test."""
    with ExitStack() as stack:
        yield lambda farm: stack.enter_context(Client(farm.url))
