"""Fixtures: an API server with one ready worker of the demo model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import Application
from core.settings import Settings
from db.database import Database
from tests.conftest import Migrate
from tests.integration.api.running import WorkerSide, long_lives, serving
from tests.servers.redis import RedisServer

SettingsMaker = Callable[..., Settings]
BOTH = pytest.mark.parametrize("database_url", ["sqlite", "postgres"], indirect=True)
"""Marks tests of calls whose SQL differs, for both databases; others run on SQLite."""


@pytest.fixture(scope="session", autouse=True)
def one_document() -> Iterator[None]:
    """Let applications with the same routes share their OpenAPI document, which takes a second of CPU time to make."""
    made: dict[tuple[str, ...], dict[str, Any]] = {}
    make = Application.openapi

    def openapi(app: Application) -> dict[str, Any]:
        routes = tuple(str(getattr(route, "path", "")) for route in app.routes)
        if routes not in made:
            made[routes] = make(app)
        return made[routes]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Application, "openapi", openapi)
        yield


@pytest.fixture(scope="package", autouse=True)
def busy_machine() -> Iterator[None]:
    """Let simulated workers live, and checks of readiness take long."""
    with long_lives() as patch:
        patch.setattr("api.readiness.PROBE_SECONDS", 60.0)
        yield


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty SQLite database, or of one on the engine that the test is parametrized with."""
    url: str = request.getfixturevalue(f"fresh_{getattr(request, 'param', 'sqlite')}")
    return url


@pytest.fixture
def database(fresh_sqlite: str, migrate: Migrate) -> Iterator[Database]:
    """Yield a database with empty tables, for parts of the API without a server."""
    migrate(fresh_sqlite)
    database = Database(fresh_sqlite)
    yield database
    database.dispose()


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
    with worker_of(settings) as side:
        yield side


@pytest.fixture
def api(settings: Settings, worker: WorkerSide) -> Iterator[httpx.Client]:
    """Provide a client of a running server."""
    with serving(settings) as url, httpx.Client(base_url=url, timeout=120) as client:
        yield client


@pytest.fixture(scope="module")
def shared_settings(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, migrate: Migrate) -> Settings:
    """Return the default settings over an SQLite file that the tests of a module share."""
    directory = tmp_path_factory.mktemp("api")
    url = f"sqlite:///{directory / 'api.db'}"
    migrate(url)
    return Settings(_env_file=None, data_dir=directory / "data", database_url=url, redis_url=redis_server.url)


@pytest.fixture(scope="module")
def shared_worker(shared_settings: Settings) -> Iterator[WorkerSide]:
    """Provide a ready worker of the demo model for all tests of a module."""
    with worker_of(shared_settings) as side:
        yield side


@pytest.fixture(scope="module")
def shared_api(shared_settings: Settings, shared_worker: WorkerSide) -> Iterator[httpx.Client]:
    """Provide a client of one server for all tests of a module: for those that leave nothing which others would notice."""
    with serving(shared_settings) as url, httpx.Client(base_url=url, timeout=120) as client:
        yield client


@contextmanager
def worker_of(settings: Settings) -> Iterator[WorkerSide]:
    side = WorkerSide(settings)
    side.ready()
    try:
        yield side
    finally:
        side.close()
