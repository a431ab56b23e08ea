"""While the store does not work, workers claim nothing, spend no attempt and keep what they have rendered."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.faults.parts import FarmParts
from tests.conftest import Migrate
from tests.integration.farm.client import Client
from tests.integration.farm.conftest import sqlite_farm


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, migrate: Migrate) -> Iterator[FarmParts]:
    """Yield one farm for all tests of this file."""
    settings: dict[str, Any] = {"max_attempts": 1, "worker_capacity": 2, "heartbeat_seconds": 0.2, "drain_seconds": 1}
    with sqlite_farm(tmp_path_factory.mktemp("farm"), migrate, **settings) as running:
        yield running


@pytest.fixture
def client(farm: FarmParts) -> Iterator[Client]:
    """Yield a client; the next test begins once the worker can store images again."""
    with Client(farm.url) as opened:
        yield opened
        wait_worker(opened, lambda row: bool(row["state"] == "ready"))


@contextmanager
def outage(folder: Path) -> Iterator[None]:
    """Put a file in the folder's place, which stops root too, and put the folder back at the end."""
    other = folder.with_name(f"{folder.name}.aside")
    folder.mkdir(parents=True, exist_ok=True)
    other.write_text("a file where the folder should be")
    exchange(folder, other)
    try:
        yield
    finally:
        exchange(folder, other)
        other.unlink()


def exchange(one: Path, other: Path) -> None:
    """Exchange two names in one step: the worker, which makes a folder that is missing, sees one or the other."""
    at_cwd, exchange_both = -100, 2
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), exchange_both) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def wait_worker(client: Client, reached: Callable[[dict[str, Any]], bool], seconds: float = 300.0) -> dict[str, Any]:
    """Wait until the only worker's row meets the condition and return it."""
    deadline = time.monotonic() + seconds
    while True:
        row: dict[str, Any] = client.http.get("/v1/workers").json()["items"][0]
        if reached(row):
            return row
        assert time.monotonic() < deadline, row
        time.sleep(0.05)


def test_an_outage_of_the_store_holds_no_job_and_renders_none_twice(farm: FarmParts, client: Client) -> None:
    with outage(farm.directory / "data" / "images"):
        jobs = [client.submit("job 0", num_images=2)["id"]]
        blocked = wait_worker(client, lambda row: bool(row["state"] == "blocked"))
        assert blocked["message"] == (
            "storage unavailable: The image directory did not accept the file: a file stands where a folder should be."
        )
        assert blocked["live"] and blocked["running"] <= 1
        jobs += [client.submit(f"job {number}", num_images=2)["id"] for number in range(1, 8)]
        # At least two probes fail; the worker, which could render a second job, must not claim in between.
        time.sleep(2.0)
        assert [client.job(job_id)["attempt"] for job_id in jobs] == [1] + [0] * 7
        queued = next(job for job in map(client.job, jobs) if job["status"] == "queued")
        assert "storage unavailable" in queued["queue"]["reason"]
    for job_id in jobs:
        assert client.wait(job_id, "succeeded", "held", "failed")["attempt"] == 1, client.job(job_id)
        assert client.job(job_id)["status"] == "succeeded"
    assert wait_worker(client, lambda row: bool(row["state"] == "ready"))["message"] is None


def test_a_drain_during_an_outage_gives_the_job_back_free_of_charge(farm: FarmParts, client: Client) -> None:
    worker = farm.parts["worker0"]
    with outage(farm.directory / "data" / "images"):
        job_id = client.submit()["id"]
        wait_worker(client, lambda row: bool(row["state"] == "blocked"))
        assert worker.stop() == 0
        assert client.job(job_id)["status"] == "queued"
    worker.start()
    assert client.wait(job_id, "succeeded", "held")["status"] == "succeeded"


def test_a_cancel_during_an_outage_ends_the_job(farm: FarmParts, client: Client) -> None:
    with outage(farm.directory / "data" / "images"):
        job_id = client.submit()["id"]
        wait_worker(client, lambda row: bool(row["state"] == "blocked"))
        client.post(f"/v1/jobs/{job_id}/cancel")
        assert client.wait(job_id, "canceled")


def test_uploads_that_cannot_be_read_fail_no_job(farm: FarmParts, client: Client) -> None:
    picture = BytesIO()
    Image.new("RGB", (64, 64), "red").save(picture, "PNG")
    client.post("/v1/workers/worker0/pause")
    given = client.http.post("/v1/uploads", content=picture.getvalue(), headers={"content-type": "image/png"}).json()["id"]
    job_id = client.submit(init_image=given, strength=0.5)["id"]
    uploads = farm.directory / "data" / "uploads"
    with outage(uploads):
        client.post("/v1/workers/worker0/resume")
        wait_worker(client, lambda row: bool(row["state"] == "blocked"))
        client.wait(job_id, "queued")
    assert client.wait(job_id, "succeeded", "held", "failed")["status"] == "succeeded"
