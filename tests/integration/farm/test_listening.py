"""A busy worker leaves hints to an idle one, and takes them again when nobody else does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis
from sqlalchemy import update

from benchmarks.faults.parts import FarmParts
from db.database import Database
from db.sql import now
from db.tables import Worker
from tests.integration.farm.client import Client, wait_until
from tests.integration.farm.conftest import StartFarm, give_own, give_own_speeds
from tests.integration.farm.test_outages import freeze, resume

ClientOf = Callable[[FarmParts], Client]
JOBS = 6
SECONDS = {"worker0": 2.0, "worker1": 0.0}
"""Of a step."""
BUSY, IDLE = SECONDS


@pytest.fixture
def farm(start_farm: StartFarm, monkeypatch: pytest.MonkeyPatch) -> FarmParts:
    give_own_speeds(monkeypatch, SECONDS)
    return start_farm(workers=2, worker_capacity=4)


def test_hints_reach_the_idle_worker_and_the_busy_one_where_nobody_takes_them(farm: FarmParts, client_of: ClientOf) -> None:
    client = client_of(farm)
    assert client.http.post(f"/v1/workers/{IDLE}/pause").is_success
    client.wait_for(client.submit(num_inference_steps=100)["id"], lambda job: job["worker"] == BUSY)
    assert client.http.post(f"/v1/workers/{IDLE}/resume").is_success
    client.wait_for(client.submit(num_inference_steps=1)["id"], lambda job: job["status"] == "succeeded")
    with Redis.from_url(farm.redis.url) as redis:
        before, workers = pushes(redis), []
        for _ in range(JOBS):
            wait_until(lambda: redis.info("clients")["blocked_clients"] == 1)  # Only the idle one waits for hints.
            workers.append(client.wait(client.submit()["id"], "succeeded")["worker"])
        assert workers.count(IDLE) >= JOBS - 1
        assert pushes(redis) - before <= JOBS + 1, "hints are passed on"

        freeze(farm.parts[IDLE], farm.database_url)
        try:
            keep_live(farm.database_url)
            wait_until(lambda: redis.info("clients")["blocked_clients"] == 0)  # Nobody waits for hints.
            for job_id in [client.submit(num_inference_steps=1)["id"] for _ in range(4)]:
                assert client.wait(job_id, "succeeded")["worker"] == BUSY
        finally:
            resume(farm.parts[IDLE])


def test_a_busy_worker_with_room_takes_what_idle_ones_leave(
    start_farm: StartFarm, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its event loop sleeps while it leaves hints to others, and must notice at once that no other is left."""
    give_own_speeds(monkeypatch, dict.fromkeys(SECONDS, 2.0))
    give_own(monkeypatch, "IMAGEFARM_WORKER_CAPACITY", {IDLE: 1})
    farm = start_farm(workers=2, worker_capacity=4)
    client = client_of(farm)
    assert client.http.post(f"/v1/workers/{IDLE}/pause").is_success
    client.wait_for(client.submit(num_inference_steps=100)["id"], lambda job: job["worker"] == BUSY)
    assert client.http.post(f"/v1/workers/{IDLE}/resume").is_success
    client.wait_for(client.submit(num_inference_steps=1)["id"], lambda job: job["status"] == "succeeded")
    waits = []
    for _ in range(3):
        with Redis.from_url(farm.redis.url) as redis:
            wait_until(lambda redis=redis: redis.info("clients")["blocked_clients"] == 1)  # type: ignore[misc]
        taken = client.submit(num_inference_steps=100)["id"]
        client.wait_for(taken, lambda job: job["worker"] == IDLE, seconds=100)
        left = client.wait(client.submit(num_inference_steps=100)["id"], "running")
        assert left["worker"] == BUSY
        waits.append(left["timings"]["queued_seconds"])
        for job_id in (taken, left["id"]):
            client.post(f"/v1/jobs/{job_id}/cancel")
            client.wait(job_id, "canceled")
    assert min(waits) < 4.0, f"{waits}: only a heartbeat of Celery's, each 5 s, woke it"


def test_a_busy_worker_takes_what_the_idle_one_is_excluded_from(farm: FarmParts, client_of: ClientOf) -> None:
    client = client_of(farm)
    assert client.http.post(f"/v1/workers/{IDLE}/pause").is_success
    long = client.submit(num_inference_steps=100)["id"]
    client.wait_for(long, lambda job: job["worker"] == BUSY)
    assert client.http.post(f"/v1/workers/{IDLE}/resume").is_success
    client.wait_for(client.submit(num_inference_steps=1)["id"], lambda job: job["worker"] == IDLE)
    failing = client.submit("synthetic:oom a cat")["id"]  # out of memory: no second attempt on the same worker
    client.wait_for(failing, lambda job: job["status"] == "running" and job["worker"] == BUSY)
    assert client.job(long)["status"] == "running"


def keep_live(database_url: str) -> None:
    """Let the frozen worker count as idle for as long as the test takes."""
    database = Database(database_url)
    with database.write() as session:
        session.execute(update(Worker).where(Worker.name == IDLE).values(seen_at=now() + 3600.0))
    database.dispose()


def pushes(redis: Redis) -> int:
    """Return how many messages clients have pushed to lists of this server: hints, new ones or passed on."""
    return int(redis.info("commandstats").get("cmdstat_lpush", {}).get("calls", 0))
