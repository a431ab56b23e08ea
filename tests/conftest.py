"""Fixtures that every test may use: real Redis, real Postgres, and a database URL on each engine."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import Unavailable
from tests.servers.postgres import PostgresMissing, PostgresServer
from tests.servers.redis import RedisServer

IN_CI = os.environ.get("CI", "") not in ("", "0", "false")


def missing_tool(reason: str) -> None:
    """End a test that lacks a tool: a failure in CI, a skip with its reason elsewhere."""
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A run in which nothing was executed proves nothing: it fails."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if exitstatus == 0 and reporter is not None and not session.config.option.collectonly:
        executed = any(reporter.stats.get(outcome) for outcome in ("passed", "failed", "xfailed"))
        session.exitstatus = pytest.ExitCode.OK if executed else pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.fixture(scope="session")
def server_root() -> Iterator[Path]:
    """A short directory for servers' data, gone afterwards."""
    root = Path(tempfile.mkdtemp(prefix="imagefarm-test-"))
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_server(server_root: Path) -> Iterator[RedisServer]:
    """The session's shared Redis. A test that kills its server starts one of its own with `RedisServer(tmp_path)`."""
    try:
        server = RedisServer(server_root / "redis").start()
    except Unavailable as error:
        missing_tool(error.message)
        raise
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of a running Redis, emptied before the test."""
    import redis

    with redis.Redis.from_url(redis_server.url) as connection:
        connection.flushall()
    return redis_server.url


@pytest.fixture(scope="session")
def postgres_server(server_root: Path) -> Iterator[PostgresServer]:
    """The session's shared Postgres cluster."""
    try:
        server = PostgresServer(server_root / "postgres").start()
    except PostgresMissing as error:
        missing_tool(str(error))
        raise
    yield server
    server.stop()


@pytest.fixture
def fresh_postgres(postgres_server: PostgresServer) -> Iterator[str]:
    """URL of an empty Postgres database of this test alone."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def fresh_sqlite(tmp_path: Path) -> str:
    """URL of an empty SQLite database file of this test alone."""
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty database, once on each engine; tables are not made."""
    name = "fresh_sqlite" if request.param == "sqlite" else "fresh_postgres"
    url: str = request.getfixturevalue(name)
    return url
