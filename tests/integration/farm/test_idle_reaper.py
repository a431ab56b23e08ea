"""A reaper with nothing to do leaves the broker alone, and still finds hints that the broker lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from core.model_operations import OperationKind
from core.queue import render_queue
from core.settings import Settings
from db.database import Database
from db.jobs.submit import NewJob, submit
from db.model_operations import claim, start
from tests.conftest import Migrate
from worker.reaper.reaper import Reaper

KEY = f"farm:{render_queue('demo')}"


@pytest.fixture
def settings(redis_url: str, fresh_sqlite: str, migrate: Migrate) -> Settings:
    migrate(fresh_sqlite)
    return Settings(_env_file=None, redis_url=redis_url, database_url=fresh_sqlite)


@pytest.fixture
def reaper(settings: Settings) -> Iterator[Reaper]:
    found = Reaper(settings)
    yield found
    found.close()


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    opened = Database(settings.resolved_database_url)
    yield opened
    opened.dispose()


def commands_of(redis: Redis) -> int:
    """Return how many commands the server has run, without this one."""
    return int(redis.info("stats")["total_commands_processed"])


def test_rounds_without_a_queued_job_ask_the_broker_nothing(reaper: Reaper, redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:
        reaper.round()  # A new reaper looks.
        assert redis.get("farm:epoch")
        before = commands_of(redis)
        for _ in range(5):
            reaper.round()
        assert commands_of(redis) - before <= 1


def test_a_loss_in_between_is_found_once_a_job_is_queued(reaper: Reaper, redis_url: str, database: Database) -> None:
    reaper.round()
    submit(database, NewJob(owner="ann", model="demo", prompt="a cat", input={"seed": 1}))
    with Redis.from_url(redis_url) as redis:
        reaper.round()
        assert redis.llen(KEY) == 1
        redis.flushall()
        reaper.round()
        assert redis.llen(KEY) == 1


def test_an_operation_on_a_model_is_told_to_its_manager(settings: Settings, database: Database) -> None:
    told: list[str] = []
    reaper = Reaper(settings, lambda: told.append("told"))
    reaper.round()
    assert not told
    start(database, OperationKind.PULL, "z-image-turbo", "ann")
    reaper.round()
    assert told == ["told"]
    assert claim(database, "host", 60.0)
    reaper.round()
    assert told == ["told"]
    reaper.close()
