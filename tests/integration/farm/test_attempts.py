"""Jobs whose render fails, and the jobs that run next to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from benchmarks.faults.parts import FarmParts
from tests.conftest import Migrate
from tests.integration.farm.client import Client
from tests.integration.farm.conftest import StartFarm, sqlite_farm

ClientOf = Callable[[FarmParts], Client]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, migrate: Migrate) -> Iterator[Client]:
    """Yield a client of a farm with one worker and one attempt for each job; no heartbeat comes while a test waits."""
    settings: dict[str, Any] = {"step_timeout_seconds": 10, "max_attempts": 1, "heartbeat_seconds": 30, "lease_seconds": 300}
    directory = tmp_path_factory.mktemp("one")
    with (
        sqlite_farm(directory, migrate, synthetic_step_seconds=0.3, **settings) as farm,
        Client(farm.url) as opened,
    ):
        yield opened


@pytest.fixture(scope="module")
def client_of_two(tmp_path_factory: pytest.TempPathFactory, migrate: Migrate) -> Iterator[Client]:
    """Yield a client of a farm with two workers and three attempts for each job."""
    settings: dict[str, Any] = {"synthetic_step_seconds": 0.2, "max_attempts": 3, "worker_capacity": 4}
    with sqlite_farm(tmp_path_factory.mktemp("two"), migrate, workers=2, **settings) as farm, Client(farm.url) as opened:
        yield opened


def test_a_job_runs_and_its_images_can_be_read(client: Client) -> None:
    job = client.wait(client.submit(num_images=2)["id"], "succeeded")
    assert [output["seed"] for output in job["outputs"]] == [1, 2]
    for output in job["outputs"]:
        content = client.http.get(f"/v1/images/{output['id']}/content")
        assert content.headers["content-type"] == "image/png" and content.content.startswith(b"\x89PNG")


def test_two_jobs_keep_two_workers_busy(client_of_two: Client) -> None:
    client = client_of_two
    seen: list[int] = []
    while seen.count(2) < 3:  # A worker that this machine keeps from waiting for hints misses a round.
        jobs = [client.submit(num_inference_steps=8)["id"] for _ in range(2)]
        done = [client.wait(job_id, "succeeded") for job_id in jobs]
        seen.append(len({job["worker"] for job in done}))
        assert len(seen) < 10, seen


def test_a_poison_job_is_held_and_other_jobs_finish(client_of_two: Client) -> None:
    client = client_of_two
    innocents = [client.submit(f"innocent {number}", num_inference_steps=5)["id"] for number in range(4)]
    poison = client.submit("synthetic:crash")["id"]
    innocents += [client.submit(f"later {number}", num_inference_steps=5)["id"] for number in range(4)]
    held = client.wait(poison, "held")
    assert held["error"]["code"] == "engine_lost" and held["attempt"] == 3
    for job_id in innocents:
        assert client.wait(job_id, "succeeded", "held")["status"] == "succeeded"


def test_a_poison_job_first_in_the_queue_harms_no_other_job(start_farm: StartFarm, client_of: ClientOf) -> None:
    client = client_of(start_farm(workers=1, worker_capacity=4, synthetic_step_seconds=0.2, max_attempts=3))
    poison = client.submit("synthetic:crash", priority=9)["id"]
    innocents = [client.submit(f"innocent {number}", num_inference_steps=5)["id"] for number in range(7)]
    assert client.wait(poison, "held")["attempt"] >= 3
    for job_id in innocents:
        assert client.wait(job_id, "succeeded", "held")["status"] == "succeeded"


def test_a_hung_engine_is_replaced(client: Client) -> None:
    hung = client.submit("synthetic:hang")["id"]
    assert client.wait(hung, "held")["error"]["code"] == "engine_lost"
    assert client.wait(client.submit()["id"], "succeeded")


def test_errors_keep_their_codes(client: Client) -> None:
    not_finite = client.wait(client.submit("synthetic:nan")["id"], "failed")
    assert not_finite["error"]["code"] == "non_finite_latents" and not_finite["attempt"] == 1
    too_big = client.wait(client.submit("synthetic:oom")["id"], "held")
    assert too_big["error"]["code"] == "out_of_memory"


def test_a_held_job_can_be_retried(client: Client) -> None:
    job_id = client.submit("synthetic:crash")["id"]
    client.wait(job_id, "held")
    assert client.post(f"/v1/jobs/{job_id}/retry")["status"] == "queued"
    assert client.wait_for(job_id, lambda job: job["status"] == "held" and job["attempt"] == 2)


def test_cancel_of_a_running_job_does_not_affect_another(client: Client) -> None:
    canceled = client.submit("canceled", num_inference_steps=100)["id"]
    other = client.submit("other", num_inference_steps=20)["id"]
    client.wait(canceled, "running")
    client.wait(other, "running", "succeeded")
    answer = client.post(f"/v1/jobs/{canceled}/cancel")
    assert answer["cancel_requested"] is True
    assert client.wait(canceled, "canceled")["outputs"] == []
    assert client.wait(other, "succeeded")["attempt"] == 1
