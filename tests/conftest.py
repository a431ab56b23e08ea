"""Fixtures for all tests: a real Redis server, a real Postgres server, and a database URL on each engine.

Under pytest-xdist each process has servers of its own.
"""

from __future__ import annotations

import gc
import os
import shutil
import ssl
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import certifi
import hypothesis
import pytest
from typer.main import get_command

from core.errors import Unavailable
from db.migrate import upgrade
from tests.servers.collection import start_collection
from tests.servers.postgres import PostgresMissing, PostgresServer
from tests.servers.redis import RedisServer
from tests.servers.statements import share_statements

if TYPE_CHECKING:
    from execnet import XSpec
    from xdist.remote import Producer
    from xdist.scheduler import LoadFileScheduling
    from xdist.workermanage import NodeManager

Migrate = Callable[[str], None]
SHARED_FARMS = ("tests/e2e", "tests/integration/api/comfyui", "tests/integration/imagefarm")
"""Folders whose files share a farm."""
hypothesis.settings.register_profile("any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("any machine")
gc_frozen_modules = [0]
"""Number of imported modules when collections last excluded what there was."""
gc.disable()  # until all is imported: collections find nothing and take two seconds
IN_CI = os.environ.get("CI", "") not in ("", "0", "false")


def missing_tool(reason: str) -> None:
    """Fail the test in CI, skip it elsewhere, because a tool is not installed."""
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


def find_tool(name: str) -> Path | None:
    """Return a program that `scripts/test.sh` put beside the virtual environment, else one from PATH."""
    environment = Path(__file__).parents[1] / ".venv"
    folders = (environment / "bin", environment / "npm" / "node_modules" / ".bin")
    found = shutil.which(name, path=os.pathsep.join(map(str, folders))) or shutil.which(name)
    return None if found is None else Path(found)


def pytest_collection_finish() -> None:
    """Collect garbage again, but young objects less often: that took a twentieth of the tests' processor time."""
    gc.set_threshold(5_000)
    gc.enable()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run in which no test was executed.

    The processes of pytest-xdist have no terminal reporter; the controller has, and counts the tests of all.
    """
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if exitstatus == 0 and reporter is not None and not session.config.option.collectonly:
        executed = any(reporter.stats.get(outcome) for outcome in ("passed", "failed", "xfailed"))
        session.exitstatus = pytest.ExitCode.OK if executed else pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Run folders that share a farm in one process of pytest-xdist: each process would start a farm of its own."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class FilesAndFarms(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return next((folder for folder in SHARED_FARMS if file.startswith(f"{folder}/")), file)

    return FilesAndFarms(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: Sequence[XSpec]) -> None:
    """Let the processes of pytest-xdist be forked from one that has imported what all of them import."""
    nodes: NodeManager = config.pluginmanager.get_plugin("dsession").nodemanager  # type: ignore[union-attr]
    interpreter = start_collection(config.invocation_params.args, nodes.testrunuid)
    for spec in specs:
        spec.python = interpreter


@pytest.fixture(scope="module", autouse=True)
def imported_modules_are_not_collected() -> None:
    """Exclude what was imported from collections: with torch and diffusers, each `gc.collect()` else takes half a second."""
    if len(sys.modules) > gc_frozen_modules[0] + 200:
        gc.collect()
        gc.freeze()
        gc_frozen_modules[0] = len(sys.modules)


@pytest.fixture(scope="session")
def server_root() -> Iterator[Path]:
    """Yield a directory with a short path for servers' data, and delete it at the end of the session."""
    root = Path(tempfile.mkdtemp(prefix="imagefarm-test-"))
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def one_trusted_certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let this process and its children trust a single certificate authority.

    No test speaks TLS, but each HTTP client loads the trusted certificates: a whole bundle costs it 30 ms of CPU time.
    """
    bundle = Path(certifi.where()).read_text(encoding="utf-8")
    first, end = bundle.index("-----BEGIN"), bundle.index("-----END CERTIFICATE-----")
    path = tmp_path_factory.mktemp("certificates") / "one.pem"
    path.write_text(bundle[first:end] + "-----END CERTIFICATE-----\n", encoding="utf-8")
    ssl.create_default_context(cafile=str(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(path))
        patch.delenv("SSL_CERT_DIR", raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def shared_statements() -> Iterator[None]:
    """Let all databases of this process share compiled statements: a new engine compiles each for 5 ms of CPU time."""
    with pytest.MonkeyPatch.context() as patch:
        share_statements(patch)
        yield


@pytest.fixture(scope="session", autouse=True)
def shared_commands() -> Iterator[None]:
    """Let calls of the command line share its commands: typer else reads 60 signatures for each, 0.2 s of CPU time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", cache(get_command))
        yield


@pytest.fixture(scope="session", autouse=True)
def long_timeouts_of_requests() -> None:
    """Let requests of tests wait longer than the 5 s of httpx: a busy machine answers late."""
    from httpx import _config

    usual = _config.DEFAULT_TIMEOUT_CONFIG
    usual.connect = usual.read = usual.write = usual.pool = 120.0


@pytest.fixture(scope="session")
def redis_server(server_root: Path) -> Iterator[RedisServer]:
    """Start the session's shared Redis. A test that kills its server starts another with `RedisServer(tmp_path)`."""
    try:
        server = RedisServer(server_root / "redis").start()
    except Unavailable as error:
        missing_tool(error.message)
        raise
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Empty the shared Redis and return its URL."""
    import redis

    with redis.Redis.from_url(redis_server.url) as connection:
        connection.flushall()
    return redis_server.url


@pytest.fixture(scope="session")
def postgres_server(server_root: Path) -> Iterator[PostgresServer]:
    """Start the session's shared Postgres cluster."""
    try:
        server = PostgresServer(server_root / "postgres").start()
    except PostgresMissing as error:
        missing_tool(str(error))
        raise
    yield server
    server.stop()


@pytest.fixture
def fresh_postgres(postgres_server: PostgresServer) -> Iterator[str]:
    """Create an empty Postgres database for this test and yield its URL."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def fresh_sqlite(tmp_path: Path) -> str:
    """Return the URL of an empty SQLite database file for this test."""
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty database without tables, once on each engine."""
    name = "fresh_sqlite" if request.param == "sqlite" else "fresh_postgres"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture(scope="session")
def migrate(server_root: Path, request: pytest.FixtureRequest) -> Migrate:
    """Return a function that creates all tables in an empty SQLite file, or an empty database of the session's Postgres.

    It gets a copy of a database that was migrated once: the migrations themselves have tests of their own.
    """
    migrated = server_root / "migrated.db"
    upgrade(f"sqlite:///{migrated}")

    def create_tables(url: str) -> None:
        if url.startswith("sqlite:///"):
            shutil.copyfile(migrated, url.removeprefix("sqlite:///"))
        else:
            server: PostgresServer = request.getfixturevalue("postgres_server")
            server.fill(url, upgrade)

    return create_tables
