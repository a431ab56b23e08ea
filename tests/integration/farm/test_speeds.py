"""Two workers of different speed: which one takes a job, that both work under load, and the queue's estimated end."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from benchmarks.faults.parts import FarmParts
from core.work import SHORTEST_SECONDS, megapixel_steps
from tests.integration.farm.client import Client, wait_until
from tests.integration.farm.conftest import StartFarm, give_own_speeds

ClientOf = Callable[[FarmParts], Client]
STEPS = 4
SECONDS = {"worker0": 0.1, "worker1": 0.4}
"""Of a step: 0.4 s and 1.6 s for a job."""
MANY, LONG = 150, 60
"""Queued jobs and their steps: so many that both workers end them sooner than the fast one alone, by more than a job."""


@pytest.fixture
def farm(start_farm: StartFarm, monkeypatch: pytest.MonkeyPatch) -> FarmParts:
    give_own_speeds(monkeypatch, SECONDS)
    return start_farm(workers=2, worker_capacity=1, heartbeat_seconds=0.5)


def test_the_fast_worker_takes_lone_jobs_and_both_share_a_queue_whose_end_is_that_of_both(
    farm: FarmParts, client_of: ClientOf
) -> None:
    client = client_of(farm)
    measure(client)
    for _ in range(4):
        job = client.wait(client.submit(num_inference_steps=STEPS)["id"], "succeeded")
        if job["timings"]["queued_seconds"] >= SHORTEST_SECONDS:
            break  # This machine is so busy that the fast worker let the time for it pass.
        assert (job["worker"], job["attempt"]) == ("worker0", 1)

    jobs = [client.submit(num_inference_steps=LONG)["id"] for _ in range(MANY)]
    wait_until(lambda: both_work_and_most_wait(client))
    wait_estimate(client)
    for job_id in reversed(jobs):
        client.http.post(f"/v1/jobs/{job_id}/cancel")
    for job_id in jobs:
        client.wait(job_id, "canceled", "succeeded")

    assert client.http.post("/v1/workers/worker0/pause").is_success
    assert client.wait(client.submit(num_inference_steps=1)["id"], "succeeded")["worker"] == "worker1"


def both_work_and_most_wait(client: Client) -> bool:
    """Return whether the queue, which is up to a second old, shows that; a busy machine may have rendered some."""
    queue = client.http.get("/v1/queue").json()
    return bool(queue["running"] == len(SECONDS) and queue["queued"] > MANY - 50)


def wait_estimate(client: Client) -> None:
    """Wait until the queue is said to end when both workers together have done its jobs, sooner than the fast one could."""
    deadline = time.monotonic() + 300
    while True:
        queue = client.http.get("/v1/queue").json()["models"][0]
        queued, running = queue["queued"], queue["running"]
        speeds = [row["info"]["speed"] for row in client.http.get("/v1/workers").json()["items"]]
        job_seconds = [megapixel_steps(64, 64, LONG) * each["seconds_per_megapixel_step"] for each in speeds]
        rate = sum(1 / each for each in job_seconds)
        least, most = queued / rate, (queued + running) / rate + max(job_seconds)
        assert most < queued * min(job_seconds), "too few jobs wait, or the workers' speeds differ too much"
        if 0.99 * least <= (queue["eta_seconds"] or 0.0) <= 1.01 * most:
            return
        assert time.monotonic() < deadline, (queue, speeds)
        time.sleep(0.1)


def measure(client: Client) -> None:
    """Submit jobs until both workers have reported their speed."""
    deadline = time.monotonic() + 300
    while True:
        rows = client.http.get("/v1/workers").json()["items"]
        if all("alone_seconds_per_megapixel_step" in row["info"].get("speed", {}) for row in rows):
            return
        assert time.monotonic() < deadline, rows
        pair = [client.submit(num_inference_steps=STEPS)["id"] for _ in range(2)]
        for job_id in pair:
            client.wait(job_id, "succeeded")
