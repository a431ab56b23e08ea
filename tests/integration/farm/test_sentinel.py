"""A farm whose Redis is behind three Sentinels loses its master, and one of them, in the middle of jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.faults.parts import FarmParts
from core.queue import celery_config
from core.settings import Settings
from db.redis_client import connect
from imagefarm.celery import make_app
from supervisor.embedded_redis import place_of, problem_with
from tests.conftest import Migrate
from tests.integration.farm.client import Client, wait_until
from tests.servers.forked_parts import fork_part
from tests.servers.sentinel import WatchedRedis


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedRedis]:
    server = WatchedRedis(tmp_path_factory.mktemp("sentinel")).start()
    yield server
    server.stop()


def test_a_failover_loses_no_job(watched: WatchedRedis, tmp_path: Path, fresh_sqlite: str, migrate: Migrate) -> None:
    migrate(fresh_sqlite)
    settings = {
        "IMAGEFARM_REDIS_URL": watched.url,
        "IMAGEFARM_SYNTHETIC_STEP_SECONDS": "0.4",
        "IMAGEFARM_HEARTBEAT_SECONDS": "60",
        "IMAGEFARM_LEASE_SECONDS": "600",
    }
    farm = FarmParts(tmp_path / "farm", fresh_sqlite, watched.first, 1, settings, launch=fork_part)
    try:
        farm.start()
        with Client(farm.url) as client:
            client.wait(client.submit()["id"], "succeeded")
            jobs = [client.submit(f"before {number}", num_inference_steps=4)["id"] for number in range(8)]
            client.wait(jobs[0], "running", "succeeded")
            watched.kill_sentinel()
            watched.fail_over()
            jobs += [client.submit(f"after {number}")["id"] for number in range(8)]
            assert {client.wait(job_id, "succeeded")["attempt"] for job_id in jobs} == {1}
            follow_and_cancel(client)
            wait_until(lambda: client.http.get("/readyz").json()["status"] == "ready")
            celery = make_app(Settings(_env_file=None, redis_url=watched.url))
            wait_until(lambda: list(celery.control.inspect(timeout=1, limit=1).ping() or {}) == ["render@worker0"])
            celery.close()
    finally:
        farm.destroy()


def follow_and_cancel(client: Client) -> None:
    """Progress and cancels travel over the new master: the next heartbeat is later than the job's end."""
    job = client.submit(num_inference_steps=100)["id"]
    wait_progress(client, job)
    client.post(f"/v1/jobs/{job}/cancel")
    assert client.wait(job, "canceled")["status"] == "canceled"


def wait_progress(client: Client, job: str) -> None:
    reached: Callable[[dict[str, object]], bool] = lambda found: bool(found.get("progress"))  # noqa: E731
    client.wait_for(job, reached)


def test_messages_name_the_sentinels_and_no_password(watched: WatchedRedis) -> None:
    url = watched.url.replace("://", "://:hidden@")
    assert place_of(url) == f"farm of the Sentinels {watched.servers.replace(',', ', ')}"
    other = problem_with(watched.url.replace("/farm/", "/nobody/"))
    assert other is not None and "nobody of the Sentinels" in other and "does not answer" in other


def test_a_dead_sentinel_is_passed_over_without_a_second_try(watched: WatchedRedis) -> None:
    """By default redis-py tries it ten times over 8 s before it asks the next, at each connection."""
    client = connect(watched.url)
    celery = celery_config(Settings(_env_file=None, redis_url=watched.url))
    asked = client.connection_pool.sentinel_manager.sentinel_kwargs  # type: ignore[attr-defined]
    client.close()
    assert asked == celery["broker_transport_options"]["sentinel_kwargs"]
    assert asked["retry"] is None and asked["socket_connect_timeout"] <= 2
