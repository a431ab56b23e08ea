"""The servers that other tests use are real, separate and empty."""

from __future__ import annotations

from pathlib import Path

import psycopg
import redis
from sqlalchemy import create_engine, text

from tests.servers.redis import RedisServer


def test_database_url_is_an_empty_database(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE probe (n INTEGER)"))
        assert connection.execute(text("SELECT count(*) FROM probe")).scalar() == 0
    engine.dispose()


def test_postgres_is_recent(postgres_server: object, fresh_postgres: str) -> None:
    with psycopg.connect(fresh_postgres.replace("+psycopg", "")) as connection:
        version = connection.execute("SHOW server_version_num").fetchone()
    assert version is not None
    assert int(version[0]) >= 150000


def test_redis_is_empty_and_never_evicts(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as connection:
        assert connection.dbsize() == 0
        assert connection.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert connection.config_get("appendonly") == {"appendonly": "yes"}


def test_killed_redis_keeps_or_loses_data_as_asked(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis").start()
    with redis.Redis.from_url(server.url) as connection:
        connection.set("kept", "1")
        connection.execute_command("WAITAOF", 1, 0, 5000)
    server.kill()
    server.start()
    with redis.Redis.from_url(server.url) as connection:
        assert connection.get("kept") == b"1"
    server.kill(lose_data=True)
    server.start()
    with redis.Redis.from_url(server.url) as connection:
        assert connection.get("kept") is None
    server.stop()
