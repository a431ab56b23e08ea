"""Farms of real processes with the synthetic renderer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from benchmarks.faults.parts import FarmParts
from db.migrate import upgrade
from tests.conftest import Migrate
from tests.integration.farm.client import Client
from tests.servers.forked_parts import fork_part
from tests.servers.redis import RedisServer

StartFarm = Callable[..., FarmParts]


@contextmanager
def running_parts(
    directory: Path, database_url: str, workers: int, settings: dict[str, str], upscalers: int = 0
) -> Iterator[FarmParts]:
    """Yield a farm over a migrated database, with a Redis of its own; its processes are forked.

    No lease expires because the machine is busy, unless `settings` say how long one lasts.
    """
    settings = {"IMAGEFARM_LEASE_SECONDS": "120"} | settings
    redis = RedisServer(directory / "redis").start()
    farm = FarmParts(directory / "farm", database_url, redis, workers, settings, upscalers=upscalers, launch=fork_part)
    try:
        yield farm.start()
    finally:
        farm.destroy()
        redis.stop()


@contextmanager
def sqlite_farm(
    directory: Path, migrate: Migrate, *, workers: int = 1, upscalers: int = 0, **settings: object
) -> Iterator[FarmParts]:
    """Yield a farm over an SQLite file of its own; settings by their short names."""
    url = f"sqlite:///{directory / 'farm.db'}"
    migrate(url)
    with running_parts(directory, url, workers, environment_of(settings), upscalers) as farm:
        yield farm


def environment_of(settings: dict[str, object]) -> dict[str, str]:
    """Return the variables of settings that have their short names."""
    return {f"IMAGEFARM_{name.upper()}": str(value) for name, value in settings.items()}


@pytest.fixture
def start_farm(tmp_path: Path, fresh_sqlite: str, migrate: Migrate) -> Iterator[StartFarm]:
    """Start farms with their own Redis; settings by their short names, such as `lease_seconds=2`."""
    with ExitStack() as stack:

        def start(workers: int = 1, database_url: str = fresh_sqlite, **settings: object) -> FarmParts:
            create_tables = migrate if database_url.startswith("sqlite") else upgrade
            create_tables(database_url)
            return stack.enter_context(running_parts(tmp_path, database_url, workers, environment_of(settings)))

        yield start


def give_own_speeds(monkeypatch: pytest.MonkeyPatch, seconds: Mapping[str, float]) -> None:
    """Let the workers of farms that are started from now on take so many seconds for a step, by their names."""
    give_own(monkeypatch, "IMAGEFARM_SYNTHETIC_STEP_SECONDS", seconds)


def give_own(monkeypatch: pytest.MonkeyPatch, setting: str, values: Mapping[str, object]) -> None:
    """Give the workers of farms that are started from now on values of their own for a setting, by their names."""
    add = FarmParts.add

    def with_own(self: FarmParts, name: str, arguments: list[str], **extra: str) -> None:
        own = {setting: str(values[name])} if name in values else {}
        add(self, name, arguments, **extra, **own)

    monkeypatch.setattr(FarmParts, "add", with_own)


@pytest.fixture
def client_of() -> Iterator[Callable[[FarmParts], Client]]:
    """Return clients of farms, closed after the test."""
    with ExitStack() as stack:
        yield lambda farm: stack.enter_context(Client(farm.url))
