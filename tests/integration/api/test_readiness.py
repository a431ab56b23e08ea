"""/readyz tries a write in every part, and says which one does not take it."""

from __future__ import annotations

import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from api import readiness
from core.settings import Settings
from core.storage.probe import PARTIAL_PREFIX
from db.database import Database
from tests.integration.api.conftest import BOTH, SettingsMaker
from tests.integration.api.running import WorkerSide, serving
from tests.servers.redis import RedisServer

GOOD = {"prompt": "a red fox", "width": 64, "height": 64}


@pytest.fixture(autouse=True)
def _ask_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 0.0)


def ask(api: httpx.Client, status: int, word: str) -> dict[str, Any]:
    """Ask until readiness is `word`, since a check that a busy machine delays counts as failed; return the checks."""
    deadline = time.monotonic() + 120
    while (answer := api.get("/readyz")).json()["status"] != word and time.monotonic() < deadline:
        time.sleep(0.2)
    assert (answer.status_code, answer.json()["status"]) == (status, word), answer.text
    checks: dict[str, Any] = answer.json()["checks"]
    return checks


def failed(checks: dict[str, Any]) -> set[str]:
    return {name for name, check in checks.items() if not check["ok"]}


@BOTH
def test_everything_takes_writes(api: httpx.Client, settings: Settings) -> None:
    checks = ask(api, 200, "ready")
    assert set(checks) == {"database", "images", "uploads", "redis", "workers"}
    assert not failed(checks)
    assert not list(settings.data_dir.parent.rglob(f"{PARTIAL_PREFIX}*"))


def test_answers_are_kept_for_a_moment(api: httpx.Client, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 60.0)
    ask(api, 200, "ready")
    settings.data_dir.mkdir(exist_ok=True)
    settings.images_dir.write_bytes(b"a file stands here")
    ask(api, 200, "ready")


@pytest.mark.parametrize(
    ("part", "status", "word"), [("images", 200, "degraded"), ("uploads", 503, "unready")], ids=["images", "uploads"]
)
def test_folder_that_takes_no_files_is_named(
    api: httpx.Client, settings: Settings, part: str, status: int, word: str
) -> None:
    settings.data_dir.mkdir(exist_ok=True)
    (settings.data_dir / part).write_bytes(b"a file stands where the folder should be")
    checks = ask(api, status, word)
    assert failed(checks) == {part}
    assert "a file stands where a folder should be" in checks[part]["detail"]
    (settings.data_dir / part).unlink()
    ask(api, 200, "ready")


def test_deleted_folder_is_noticed(api: httpx.Client, settings: Settings) -> None:
    settings.images_dir.mkdir(parents=True)
    ask(api, 200, "ready")
    shutil.rmtree(settings.images_dir)
    checks = ask(api, 200, "degraded")
    assert "deleted while the farm was running" in checks["images"]["detail"]


@pytest.fixture
def own_file(tmp_path: Path, fresh_sqlite: str) -> Path:
    """Return the file of a database that a test may damage."""
    return Path(fresh_sqlite.removeprefix("sqlite:///"))


def test_deleted_and_replaced_database_files_are_noticed(api: httpx.Client, own_file: Path, tmp_path: Path) -> None:
    ask(api, 200, "ready")
    kept = tmp_path / "kept.db"
    own_file.rename(kept)
    checks = ask(api, 503, "unready")
    assert "deleted" in checks["database"]["detail"]
    assert "restart the farm" in checks["database"]["detail"]
    shutil.copy(kept, own_file)
    assert "replaced" in ask(api, 503, "unready")["database"]["detail"]
    own_file.unlink()
    kept.rename(own_file)
    ask(api, 200, "ready")


def test_database_that_takes_no_writes_is_not_ready_in_time(
    api: httpx.Client, own_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(api, 200, "ready")
    monkeypatch.setattr(readiness, "PROBE_SECONDS", 3.0)
    holder = sqlite3.connect(own_file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        for _ in range(3):  # This process may be paused in one of them.
            start = time.monotonic()
            checks = ask(api, 503, "unready")
            if (took := time.monotonic() - start) < 15:
                break
        assert took < 15, "SQLite itself waits for 20 s"
        assert failed(checks) >= {"database"}
        assert api.get("/healthz").status_code == 200
    finally:
        holder.execute("ROLLBACK")
        holder.close()


def test_missing_tables_say_what_to_do(make_settings: SettingsMaker, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    Database(url).dispose()
    with serving(make_settings(database_url=url)) as address:
        answer = httpx.get(f"{address}/readyz", timeout=120)
    assert answer.status_code == 503
    assert "imagefarm db upgrade" in answer.json()["checks"]["database"]["detail"]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_read_only_postgres_is_not_ready(api: httpx.Client, database_url: str) -> None:
    ask(api, 200, "ready")
    name = database_url.rpartition("/")[2]
    admin = database_url.replace("postgresql+psycopg", "postgresql").replace(f"/{name}", "/postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'.encode())
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        while "read-only" not in ask(api, 503, "unready")["database"]["detail"]:
            pass  # the server ends the API's connections one by one
        assert api.post("/v1/jobs", json=GOOD).status_code == 503
        connection.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only'.encode())
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
    ask(api, 200, "ready")


def test_read_only_redis_is_named(make_settings: SettingsMaker, worker: WorkerSide, tmp_path: Path) -> None:
    from redis import Redis

    server = RedisServer(tmp_path / "own").start()
    try:
        with serving(make_settings(redis_url=server.url)) as url, httpx.Client(base_url=url, timeout=120) as api:
            ask(api, 200, "ready")
            with Redis.from_url(server.url) as client:
                client.config_set("maxmemory", "1")
                checks = ask(api, 200, "degraded")
                assert failed(checks) == {"redis"}
                assert "does not take writes" in checks["redis"]["detail"]
                assert api.post("/v1/jobs", json=GOOD).status_code == 202
            server.stop()
            assert "does not answer" in ask(api, 200, "degraded")["redis"]["detail"]
    finally:
        server.stop()
