"""How an API process hears of changes: over Redis while it answers, from the database else."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis

from api.watch import watcher as watching
from api.watch.watcher import Watcher
from core.queue import RedisKeys
from core.settings import Settings
from db.database import Database
from tests.servers.redis import RedisServer

JOB = "01a22c00-a5ba-78cb-ae38-dbbb30036af2"


@pytest.fixture
def server(tmp_path: Path) -> RedisServer:
    return RedisServer(tmp_path / "redis")


@asynccontextmanager
async def watching_over(server: RedisServer, database: Database) -> AsyncIterator[Watcher]:
    watcher = Watcher(Settings(_env_file=None, redis_url=server.url), database)
    watcher.start()
    try:
        yield watcher
    finally:
        await watcher.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def publish(server: RedisServer, channel: str | bytes, message: object) -> None:
    with redis.Redis.from_url(server.url) as connection:
        connection.publish(channel, message if isinstance(message, bytes) else json.dumps(message))


@pytest.mark.parametrize("options", ["", "?protocol=3"])
def test_changes_and_progress_reach_those_who_wait(server: RedisServer, database: Database, options: str) -> None:
    server.url += options
    keys = RedisKeys(Settings(_env_file=None).redis_prefix)

    async def follow() -> None:
        async with watching_over(server, database) as watcher:
            await until(lambda: watcher.listening)
            with watcher.hub.subscribe(JOB) as subscription:
                publish(server, keys.changes, b"{")  # from whoever may write to Redis
                publish(server, keys.progress("").encode() + b"\xff", {})
                publish(server, keys.changes, [{"job": JOB}, {"job": JOB, "revision": 2, "status": "running"}])
                await until(lambda: subscription.revision == 2)
                publish(server, keys.progress(JOB), {"step": 1})
                await until(lambda: subscription.progress == {"step": 1})
                assert await watcher.progress_of(JOB) == {"step": 1}
                publish(server, keys.changes, {"job": JOB, "revision": 3, "status": "succeeded"})
                await until(lambda: subscription.settled)

    server.start()
    try:
        asyncio.run(follow())
    finally:
        server.stop()


def test_a_redis_that_falls_silent_is_noticed_and_found_again(
    server: RedisServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_PING_SECONDS", 0.5)
    keys = RedisKeys(Settings(_env_file=None).redis_prefix)

    async def follow() -> None:
        async with watching_over(server, database) as watcher:
            await until(lambda: watcher.listening)
            server.send(signal.SIGSTOP)
            await until(lambda: not watcher.listening)
            server.send(signal.SIGCONT)
            await until(lambda: watcher.listening)
            with watcher.hub.subscribe(JOB) as subscription:
                publish(server, keys.changes, [{"job": JOB, "revision": 2, "status": "running"}])
                await until(lambda: subscription.revision == 2)
            server.kill()
            await until(lambda: not watcher.listening)
            server.start()
            await until(lambda: watcher.listening)

    server.start()
    try:
        asyncio.run(follow())
    finally:
        server.send(signal.SIGCONT)
        server.stop()
