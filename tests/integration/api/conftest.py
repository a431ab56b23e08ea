"""Fixtures: an API server with one ready worker of the demo model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from core.settings import Settings
from tests.conftest import Migrate
from tests.integration.api.running import WorkerSide, serving

SettingsMaker = Callable[..., Settings]


@pytest.fixture
def make_settings(tmp_path: Path, database_url: str, redis_url: str, migrate: Migrate) -> SettingsMaker:
    """Return a function that makes settings for an empty, migrated database and a real Redis."""
    migrate(database_url)

    def make(**changes: object) -> Settings:
        values = {"data_dir": tmp_path / "data", "database_url": database_url, "redis_url": redis_url, **changes}
        return Settings(_env_file=None, **values)  # type: ignore[arg-type]

    return make


@pytest.fixture
def settings(make_settings: SettingsMaker) -> Settings:
    """Return the default settings."""
    return make_settings()


@pytest.fixture
def worker(settings: Settings) -> Iterator[WorkerSide]:
    """Provide a ready worker of the demo model."""
    side = WorkerSide(settings)
    side.ready()
    yield side
    side.close()


@pytest.fixture
def api(settings: Settings, worker: WorkerSide) -> Iterator[httpx.Client]:
    """Provide a client of a running server."""
    with serving(settings) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client
