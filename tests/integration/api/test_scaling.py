"""Load of the farm, as an autoscaler reads it."""

from __future__ import annotations

import httpx

from db.workers import heartbeat
from tests.integration.api.running import WorkerSide

BODY = {"prompt": "x", "width": 64, "height": 64}


def test_desired_workers_follow_queued_and_running_jobs(shared_api: httpx.Client, shared_worker: WorkerSide) -> None:
    empty = shared_api.get("/v1/scaling").json()
    assert (empty["open_jobs"], empty["desired_workers"], empty["live_workers"]) == (0, 0, 1)
    assert empty["cold_start_seconds"] is None
    assert empty["cooldown_seconds"] == 300
    for _ in range(5):
        shared_api.post("/v1/jobs", json=BODY)
    held = shared_worker.claim()
    assert held is not None
    busy = shared_api.get("/v1/scaling").json()
    assert (busy["queued"], busy["running"], busy["open_jobs"]) == (4, 1, 5)
    assert busy["desired_workers"] == 3, "a worker of this farm holds two jobs at once"
    assert [row["model"] for row in busy["models"]] == ["demo"]
    each = shared_api.get("/v1/scaling", params={"model": "demo", "jobs_per_worker": 1}).json()
    assert each["desired_workers"] == 5
    other = shared_api.get("/v1/scaling", params={"model": "z-image-turbo"}).json()
    assert (other["open_jobs"], other["desired_workers"], other["live_workers"]) == (0, 0, 0)
    assert [row["model"] for row in other["models"]] == ["z-image-turbo"]


def test_a_cold_start_that_was_seen_makes_the_cooldown_longer(shared_api: httpx.Client, shared_worker: WorkerSide) -> None:
    name, info = shared_worker.name, {"cold_start_seconds": 210.5}
    assert heartbeat(shared_worker.database, name, "run-1", state="stopped", info=info) is not None
    shared_api.get("/v1/workers")
    while (found := shared_api.get("/v1/scaling").json())["live_workers"]:
        pass  # the API's overview is at most a second old
    assert found["cold_start_seconds"] == 210.5
    assert found["cooldown_seconds"] == 842


def test_an_unknown_model_and_a_number_out_of_range_are_refused(shared_api: httpx.Client) -> None:
    for wrong, field in (({"model": "nonsense"}, "model"), ({"jobs_per_worker": 0}, "jobs_per_worker")):
        answer = shared_api.get("/v1/scaling", params=wrong)
        assert answer.status_code == 422
        assert field in answer.text
