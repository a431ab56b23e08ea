"""Outages and restarts: Redis, the database, stopped workers, workers frozen past their lease."""

from __future__ import annotations

import re
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from celery import Celery
from sqlalchemy import make_url

from benchmarks.faults.parts import FarmParts, Part
from core.queue import RENDER_TASK, render_queue
from tests.conftest import Migrate
from tests.integration.farm.client import Client, wait_until
from tests.integration.farm.conftest import StartFarm, sqlite_farm
from tests.servers.forked_parts import run_command
from tests.servers.postgres import PostgresServer

ClientOf = Callable[[FarmParts], Client]


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, migrate: Migrate) -> Iterator[FarmParts]:
    """Yield a farm for the tests that leave it whole. Its leases outlast every test."""
    settings: dict[str, Any] = {
        "synthetic_step_seconds": 0.2,
        "lease_seconds": 600,
        "heartbeat_seconds": 5,
        "drain_seconds": 300,
    }
    with sqlite_farm(tmp_path_factory.mktemp("farm"), migrate, **settings) as running:
        yield running


@pytest.fixture
def client(farm: FarmParts) -> Iterator[Client]:
    with Client(farm.url) as opened:
        yield opened


def wait_log(part: Part, pattern: str, seconds: float = 300.0, after: int = 0) -> None:
    """Wait until the part's log matches `pattern` at or after that character."""
    deadline = time.monotonic() + seconds
    while not re.search(pattern, part.log.read_text()[after:]):
        assert time.monotonic() < deadline, part.log.read_text()[-3000:]
        time.sleep(0.05)


def start_fast(worker: Part) -> None:
    """Start a worker whose steps take no time, after a slow one whose jobs outlast any pause of this process."""
    worker.environment["IMAGEFARM_SYNTHETIC_STEP_SECONDS"] = "0"
    worker.start()


def freeze(worker: Part, database_url: str) -> None:
    """Stop a worker and its engine, but not inside a transaction: SQLite's lock would then stop every other writer too."""
    while True:
        for process in worker.engines():
            process.suspend()
        worker.send(signal.SIGSTOP)
        if can_write(database_url):
            return
        resume(worker)


def resume(worker: Part) -> None:
    """Let a frozen worker and its engine go on."""
    for process in worker.engines():
        process.resume()
    worker.send(signal.SIGCONT)


def can_write(database_url: str) -> bool:
    """Return whether the SQLite file's write lock is free within a second."""
    with closing(sqlite3.connect(make_url(database_url).database or "", timeout=1, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
    return True


@pytest.mark.parametrize("lose_data", [False, True], ids=["kept", "flushed"])
def test_without_redis_jobs_are_accepted_and_run_once_it_is_back(farm: FarmParts, client: Client, lose_data: bool) -> None:
    farm.redis.kill(lose_data=lose_data)
    jobs = [client.submit(f"job {number}")["id"] for number in range(5)]
    assert {client.job(job_id)["status"] for job_id in jobs} == {"queued"}
    farm.redis.start()
    for job_id in jobs:
        assert client.wait(job_id, "succeeded")["attempt"] == 1


def test_without_the_database_the_api_answers_503_and_finished_images_are_held(
    start_farm: StartFarm, client_of: ClientOf, server_root: Path
) -> None:
    server = PostgresServer(server_root / "outage").start()
    try:
        farm = start_farm(database_url=server.create_database(), synthetic_step_seconds=0.2, lease_seconds=600)
        client = client_of(farm)
        job_id = client.submit(num_inference_steps=60)["id"]
        client.wait(job_id, "running")
        server.cut()
        refused = client.http.post("/v1/jobs", json={"prompt": "a cat"})
        assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert int(refused.headers["retry-after"]) >= 1 and refused.json()["code"] == "database_unavailable"
        wait_log(farm.parts["worker0"], "holding a finished attempt")
        server.start()
        done = client.wait(job_id, "succeeded")
        assert done["attempt"] == 1, "the finished image was stored, not rendered again"
    finally:
        server.stop()


def test_a_drained_worker_finishes_its_jobs(farm: FarmParts, client: Client) -> None:
    job_id = client.submit(num_inference_steps=20)["id"]
    client.wait(job_id, "running", "succeeded")
    waiting = [client.submit(num_inference_steps=20)["id"] for _ in range(6)]
    assert farm.parts["worker0"].stop(300) == 0
    done = client.job(job_id)
    assert (done["status"], done["attempt"]) == ("succeeded", 1)
    farm.parts["worker0"].start()
    for other in waiting:
        assert client.wait(other, "succeeded")["attempt"] == 1


@pytest.mark.parametrize("signals", [1, 2], ids=["grace over", "second signal"])
def test_jobs_that_cannot_finish_go_back_without_using_up_an_attempt(
    start_farm: StartFarm, client_of: ClientOf, tmp_path: Path, signals: int
) -> None:
    """So a spot machine may leave within 30 s: the worker ends soon after its drain time, and its job waits for another."""
    grace, file = 1 if signals == 1 else 300, tmp_path / "heartbeat"
    farm = start_farm(
        synthetic_step_seconds=1, max_attempts=1, drain_seconds=grace, heartbeat_file=file, heartbeat_seconds=0.2
    )
    client = client_of(farm)
    job_id = client.submit(num_inference_steps=40)["id"]
    client.wait(job_id, "running")
    worker = farm.parts["worker0"]
    wait_until(file.exists)  # the worker touches it with each heartbeat
    worker.send(signal.SIGTERM)
    wait_log(worker, "draining")
    for _ in range(signals - 1):
        worker.send(signal.SIGTERM)
    assert worker.process is not None and worker.process.wait(120) == 0
    back = client.job(job_id)
    assert back["status"] == "queued", back
    start_fast(worker)
    assert client.wait(job_id, "succeeded")["status"] == "succeeded"


def test_a_killed_workers_job_is_requeued_when_the_worker_restarts(farm: FarmParts, client: Client) -> None:
    job_id = client.submit(num_inference_steps=100)["id"]
    client.wait(job_id, "running")
    farm.parts["worker0"].kill()
    start_fast(farm.parts["worker0"])
    done = client.wait(job_id, "succeeded")
    assert done["attempt"] == 2, "the job was requeued before its lease of ten minutes expired"


def test_a_frozen_workers_job_is_requeued_and_its_late_result_refused(start_farm: StartFarm, client_of: ClientOf) -> None:
    farm = start_farm(workers=2, synthetic_step_seconds=0.1, lease_seconds=8, heartbeat_seconds=1)
    client = client_of(farm)
    job_id = client.submit(num_inference_steps=100)["id"]
    running = client.wait(job_id, "running")
    frozen = farm.parts[running["worker"]]
    freeze(frozen, farm.database_url)
    done = client.wait(job_id, "succeeded")
    assert done["attempt"] > running["attempt"] and done["worker"] != frozen.name
    resume(frozen)
    wait_log(frozen, f"refused: attempt {running['attempt']} no longer holds")
    assert client.job(job_id)["outputs"] == done["outputs"]


def test_a_pickled_message_is_refused(farm: FarmParts, client: Client) -> None:
    seen = len(farm.parts["worker0"].log.read_text())
    app = Celery("stranger", broker=farm.redis.url, set_as_current=False)
    app.conf.update(broker_transport_options={"global_keyprefix": "farm:"}, task_serializer="pickle")
    app.send_task(RENDER_TASK, args=("x",), queue=render_queue("demo"), serializer="pickle")
    wait_log(farm.parts["worker0"], "(?i)refusing|disallow|untrusted", after=seen)
    assert client.wait(client.submit()["id"], "succeeded")


def test_retention_deletes_rows_and_files_together(farm: FarmParts, client: Client) -> None:
    def prune() -> str:
        environment = farm.parts["reaper"].environment
        done = run_command("prune", "--older-than", "0", environment=environment, cwd=farm.directory)
        assert done.returncode == 0, done.stderr
        return done.stdout

    prune()
    job = client.wait(client.submit()["id"], "succeeded")
    assert list((farm.directory / "data" / "images").rglob("*.png"))
    assert re.search(r"\b1 job\b", prune())
    assert not list((farm.directory / "data" / "images").rglob("*.png"))
    assert client.http.get(f"/v1/jobs/{job['id']}").status_code == httpx.codes.GONE
    assert client.http.get(f"/v1/images/{job['outputs'][0]['id']}/content").status_code == httpx.codes.GONE
