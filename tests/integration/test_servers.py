"""The servers that other tests use are real, separate and empty."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from sqlalchemy import create_engine, text

from tests.conftest import Migrate
from tests.servers import collection, forks
from tests.servers.farm import ROOT
from tests.servers.ports import BLOCK_SIZE, FIRST_PORT, LAST_PORT, free_port
from tests.servers.postgres import PostgresServer
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


def test_a_filled_postgres_database_is_used_again_only_if_it_is_as_new(
    postgres_server: PostgresServer, migrate: Migrate
) -> None:
    def use(*statements: str) -> int:
        """Execute statements in a filled database, give it back while a session is open, and return the oid it had."""
        url = postgres_server.create_database()
        migrate(url)
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            assert connection.execute("SELECT count(*) FROM quota_counters").fetchone() == (0,)
            assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
            assert connection.execute("SELECT count(*) FROM pg_sequences WHERE last_value IS NOT NULL").fetchone() == (0,)
            found = connection.execute("SELECT oid FROM pg_database WHERE datname = current_database()").fetchone()
            for statement in statements:
                connection.execute(statement.encode())
            postgres_server.drop_database(url)
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        assert found is not None
        return int(found[0])

    row = "INSERT INTO quota_counters VALUES ('01800000-0000-7000-8000-000000000000', 'a', 1, 1)"
    first = use(row)
    assert use("SELECT nextval(sequencename::text) FROM pg_sequences") == first
    for change in (
        "ALTER TABLE jobs ALTER COLUMN prompt SET DEFAULT 'a'",
        "ALTER TABLE jobs ADD CONSTRAINT positive CHECK (priority > 0)",
        "CREATE TABLE more (id integer)",
        "CREATE FUNCTION one() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "UPDATE alembic_version SET version_num = 'other'",
        "DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = \"8MB\"', current_database()); END$$",
        "ANALYZE quota_counters",
    ):
        assert use(row, change) != use(), change


def test_redis_is_empty_and_never_evicts(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as connection:
        assert connection.dbsize() == 0
        assert connection.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert connection.config_get("appendonly") == {"appendonly": "yes"}


def test_killed_redis_keeps_or_loses_data_as_asked(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis").start()
    with redis.Redis.from_url(server.url) as connection:
        connection.set("kept", "1")
        connection.execute_command("WAITAOF", 1, 0, 60000)
    server.kill()
    server.start()
    with redis.Redis.from_url(server.url) as connection:
        assert connection.get("kept") == b"1"
    server.kill(lose_data=True)
    server.start()
    with redis.Redis.from_url(server.url) as connection:
        assert connection.get("kept") is None
    server.stop()


def test_processes_never_share_a_port() -> None:
    script = "from tests.servers.ports import free_port; print(free_port(), flush=True); input()"
    command = [sys.executable, "-c", script]
    others = [
        subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)
    ]
    blocks = [(free_port() - FIRST_PORT) // BLOCK_SIZE]
    for process in others:
        assert process.stdout is not None
        blocks.append((int(process.stdout.readline()) - FIRST_PORT) // BLOCK_SIZE)
    for process in others:
        process.communicate("\n", timeout=300)
    assert len(set(blocks)) == len(blocks)
    assert free_port() <= LAST_PORT < 32768, "outgoing connections would take the ports"
    assert free_port() != free_port()


def test_processes_of_a_run_fork_from_one_process_that_ends_with_the_run() -> None:
    fork = (
        "import psutil; from tests.servers.forks import fork_server\n"
        "made = fork_server().start('http.server', '0')\n"
        "print(psutil.Process(made.pid).parent().ppid(), flush=True); made.kill(); made.wait(60)"
    )
    run = f"import subprocess, sys\nfor _ in range(2): subprocess.run([sys.executable, '-c', {fork!r}], check=True)"
    environment = os.environ | {"PYTEST_XDIST_TESTRUNUID": uuid.uuid4().hex}
    done = subprocess.run(
        [sys.executable, "-c", run], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first, second = map(int, done.stdout.split())
    assert first == second
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(first).wait(60)


def test_processes_of_pytest_xdist_are_forked_after_the_collection() -> None:
    if collection.CUDA_DEVICE.exists() or "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("needs pytest-xdist, and no CUDA device")
    between = psutil.Process().parent()
    assert between is not None
    forking = between.parent()
    assert forking is not None
    assert "tests.servers.collection" in forking.cmdline()


def test_all_tests_find_an_engine_server_that_is_forked_before_the_collection(request: pytest.FixtureRequest) -> None:
    if collection.CUDA_DEVICE.exists() or "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("needs pytest-xdist, and no CUDA device")
    if collection.names_tests(request.config.workerinput["mainargv"][1:]):  # type: ignore[attr-defined]
        pytest.skip("some tests only: they start one when they need it")
    made = forks.fork_server().start("http.server", str(free_port()))
    between = psutil.Process(made.pid).parent()
    assert between is not None
    forking = between.parent()
    made.kill()
    made.wait(60)
    assert forking is not None
    assert "tests.servers.collection" in forking.cmdline()


def test_an_interpreter_forked_after_the_collection_finds_the_tests_imported_and_is_like_another(tmp_path: Path) -> None:
    (tmp_path / "test_sample.py").write_text(
        "import sys\nKEPT = sys.stderr\ndef test_sample():\n    pass\n", encoding="utf-8"
    )
    arguments = ["--noconftest", "-c", os.devnull, f"--rootdir={tmp_path}", str(tmp_path)]
    command = collection.start_collection(arguments, uuid.uuid4().hex)
    if command is None:
        pytest.skip("processes are not forked where a CUDA device is")
    code = (
        "import os, sys; kept = sys.modules['test_sample'].KEPT;"
        "print(kept.fileno(), os.environ['GIVEN'], os.getcwd(), sys.stdin.readline());"
        "sys.stderr.write('to stderr'); sys.stdout.flush(); os.close(1); sys.stdin.readline(); sys.exit(3)"
    )
    interpreter = subprocess.Popen(
        [*shlex.split(command), "-u", "-c", code],
        cwd=tmp_path,
        env=os.environ | {"GIVEN": "here"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert interpreter.stdin is not None
    assert interpreter.stdout is not None
    interpreter.stdin.write("asked\n")
    interpreter.stdin.flush()
    assert interpreter.stdout.read() == f"2 here {tmp_path} asked\n\n", "its end is seen while the process runs"
    interpreter.stdin.write("on\n")
    assert interpreter.communicate(timeout=60)[1] == "to stderr"
    assert interpreter.returncode == 3
    collection.started[-1].kill()
    collection.started.pop().wait(60)
