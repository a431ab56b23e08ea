"""Two workers of different speed: which one takes a job, that both work under load, and the queue's estimated end."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from benchmarks.faults.parts import FarmParts
from tests.integration.farm.client import Client
from tests.integration.farm.conftest import StartFarm

ClientOf = Callable[[FarmParts], Client]
STEPS = 4
SECONDS = {"worker0": 0.1, "worker1": 0.4}
"""Of a step: 0.4 s and 1.6 s for a job."""


@pytest.fixture
def farm(start_farm: StartFarm, monkeypatch: pytest.MonkeyPatch) -> FarmParts:
    add = FarmParts.add

    def with_own_speed(self: FarmParts, name: str, arguments: list[str], **extra: str) -> None:
        own = {"IMAGEFARM_SYNTHETIC_STEP_SECONDS": str(SECONDS[name])} if name in SECONDS else {}
        add(self, name, arguments, **extra, **own)

    monkeypatch.setattr(FarmParts, "add", with_own_speed)
    return start_farm(workers=2, worker_capacity=1, heartbeat_seconds=0.5)


def test_the_fast_worker_takes_a_lone_job_and_both_share_a_queue_that_ends_as_estimated(
    farm: FarmParts, client_of: ClientOf
) -> None:
    client = client_of(farm)
    measure(client)
    lone = [client.wait(client.submit(num_inference_steps=STEPS)["id"], "succeeded") for _ in range(4)]
    assert [(job["worker"], job["attempt"]) for job in lone] == [("worker0", 1)] * 4

    jobs = [client.submit(num_inference_steps=STEPS)["id"] for _ in range(15)]
    estimated = client.http.get("/v1/queue").json()["models"][0]
    rows = client.http.get("/v1/workers").json()["items"]
    rate = sum(1 / (64 * 64 / 1e6 * STEPS * row["info"]["speed"]["seconds_per_megapixel_step"]) for row in rows)
    assert estimated["eta_seconds"] * rate == pytest.approx(estimated["queued"] + estimated["running"] / 2, abs=2.5)
    done = [client.wait(job_id, "succeeded") for job_id in jobs]
    by_worker = {name: sum(job["worker"] == name for job in done) for name in SECONDS}
    assert by_worker["worker0"] > by_worker["worker1"] >= 1, by_worker

    assert client.http.post("/v1/workers/worker0/pause").is_success
    assert client.wait(client.submit(num_inference_steps=1)["id"], "succeeded")["worker"] == "worker1"


def measure(client: Client) -> None:
    """Submit jobs until both workers have reported their speed."""
    deadline = time.monotonic() + 120
    while True:
        rows = client.http.get("/v1/workers").json()["items"]
        if all("alone_seconds_per_megapixel_step" in row["info"].get("speed", {}) for row in rows):
            return
        assert time.monotonic() < deadline, rows
        pair = [client.submit(num_inference_steps=STEPS)["id"] for _ in range(2)]
        for job_id in pair:
            client.wait(job_id, "succeeded")
