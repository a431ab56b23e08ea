"""The API without Redis or the database, and while the server stops."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

from api import readiness
from core.settings import Settings
from tests.integration.api.conftest import SettingsMaker
from tests.integration.api.running import WorkerSide, serving
from tests.servers.redis import RedisServer

GOOD = {"prompt": "a red fox", "width": 64, "height": 64}


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


def test_jobs_are_accepted_and_followed_without_redis(
    make_settings: SettingsMaker, tmp_path: Path, worker: WorkerSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 0.0)
    redis = RedisServer(tmp_path / "redis").start()
    with serving(make_settings(redis_url=redis.url)) as url, httpx.Client(base_url=url, timeout=120) as api:
        assert api.get("/readyz").json()["status"] == "ready"
        redis.kill()
        job = api.post("/v1/jobs", json=GOOD)
        assert job.status_code == 202
        ready = api.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        answers: list[httpx.Response] = []
        waiter = threading.Thread(target=lambda: answers.append(api.get(f"{job.headers['location']}?wait=120")))
        waiter.start()
        claimed = worker.claim()
        assert claimed is not None
        worker.finish(claimed)
        waiter.join(120)
        assert answers[0].json()["status"] == "succeeded"


def test_an_unresponsive_redis_delays_no_submit(make_settings: SettingsMaker, worker: WorkerSide) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unresponsive:  # accepts connections in its backlog and never answers
        settings = make_settings(redis_url=f"redis://127.0.0.1:{unresponsive.getsockname()[1]}/0")
        with serving(settings) as url, httpx.Client(base_url=url, timeout=120) as api:
            start = time.monotonic()
            answers = [api.post("/v1/jobs", json=GOOD) for _ in range(60)]
            took = time.monotonic() - start
            assert {answer.status_code for answer in answers} == {202}
            # Each message costs a time-out of a second; if requests waited for them, this would take 60 s.
            assert took < 50


def test_a_hint_that_was_not_sent_is_marked_for_republishing(
    make_settings: SettingsMaker, tmp_path: Path, worker: WorkerSide
) -> None:
    from db.jobs.read import get_job

    redis = RedisServer(tmp_path / "redis").start()
    with serving(make_settings(redis_url=redis.url)) as url, httpx.Client(base_url=url, timeout=120) as api:
        redis.kill()
        job = api.post("/v1/jobs", json=GOOD).json()
    # The server has stopped, so its send queue is empty.
    assert get_job(worker.database, job["id"]).hinted_at is None


def test_no_database_is_503_with_retry_after(settings: Settings, worker: WorkerSide, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    broken = settings.model_copy(update={"database_url": "postgresql+psycopg://nobody@127.0.0.1:1/none"})
    broken.__dict__.pop("resolved_database_url", None)
    with serving(broken) as url, httpx.Client(base_url=url, timeout=120) as api:
        answer = api.post("/v1/jobs", json=GOOD)
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert api.get("/readyz").status_code == 503
        assert api.get("/healthz").status_code == 200


def test_a_stop_answers_waiting_clients(settings: Settings, worker: WorkerSide) -> None:
    answers: list[httpx.Response] = []
    with serving(settings) as url:
        job = httpx.post(f"{url}/v1/jobs", json=GOOD).json()

        def wait() -> None:
            answers.append(httpx.get(f"{url}/v1/jobs/{job['id']}?wait=300", timeout=400))

        waiter = threading.Thread(target=wait)
        waiter.start()
        # Another request for the same job shows that the first has arrived.
        httpx.get(f"{url}/v1/jobs/{job['id']}?wait=0.3")
        start = time.monotonic()
    waiter.join(120)
    assert time.monotonic() - start < 200
    assert answers[0].json()["status"] == "queued"
