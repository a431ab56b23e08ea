"""A worker with two models: jobs of both finish, whatever ends in between."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.faults.parts import FarmParts
from tests.integration.farm.client import Client
from tests.integration.farm.conftest import StartFarm

ClientOf = Callable[[FarmParts], Client]
MODELS = ("demo", "sd-turbo")


def worker_row(client: Client) -> dict[str, object]:
    (row,) = client.http.get("/v1/workers").json()["items"]
    found: dict[str, object] = row
    return found


def wait_worker(client: Client, reached: Callable[[dict[str, object]], bool], seconds: float = 40.0) -> dict[str, object]:
    deadline = time.monotonic() + seconds
    while not reached(row := worker_row(client)):
        assert time.monotonic() < deadline, row
        time.sleep(0.05)
    return row


def test_jobs_of_two_models_alternate_and_all_finish(start_farm: StartFarm, client_of: ClientOf) -> None:
    client = client_of(start_farm(model=",".join(MODELS), synthetic_load_seconds=0.2, swap_after_seconds=1))
    jobs = [client.submit(model=MODELS[number % 2])["id"] for number in range(12)]
    done = [client.wait(job_id, "succeeded") for job_id in jobs]
    assert [job["attempt"] for job in done] == [1] * 12
    assert [job["model"] for job in done] == [MODELS[number % 2] for number in range(12)]
    row = worker_row(client)
    assert [each["id"] for each in row["models"]] == list(MODELS)  # type: ignore[index,attr-defined]
