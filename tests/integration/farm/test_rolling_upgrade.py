"""The last release and this version work side by side over one database while a farm is upgraded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import select

from benchmarks.faults.parts import FarmParts
from db.database import Database
from db.migrate import upgrade
from db.tables import Attempt, Job, JobEvent
from tests.integration.farm.client import Client
from tests.servers.forked_parts import fork_part
from tests.servers.last_release import SCHEMA, spawn_last_release, unpack_last_release
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer

MOST_IDLE_SECONDS = 120.0


@pytest.fixture
def database_address(postgres_server: PostgresServer) -> Iterator[str]:
    url = postgres_server.create_database()
    upgrade(url, SCHEMA)
    yield url
    postgres_server.drop_database(url)


def test_a_farm_is_upgraded_without_losing_a_job(tmp_path: Path, database_address: str) -> None:
    directory = tmp_path / "farm"
    unpack_last_release(directory / "release")
    redis = RedisServer(tmp_path / "redis").start()
    settings = {"IMAGEFARM_SYNTHETIC_STEP_SECONDS": "0.05"}
    old = FarmParts(directory, database_address, redis, 1, settings, launch=spawn_last_release)
    del old.parts["reaper"]
    new = FarmParts(tmp_path / "new", database_address, redis, 1, settings | data_of(old), launch=fork_part)
    new.parts["worker1"] = new.parts.pop("worker0")
    new.parts["worker1"].environment["IMAGEFARM_WORKER_NAME"] = "worker1"
    jobs: list[str] = []
    try:
        with ExitStack() as stack:
            old.start()
            old_client = stack.enter_context(Client(old.url))
            jobs += submit(old_client, "before", 2)
            wait_all(old_client, jobs)

            # Expand: the tables change under the running processes of the last release, with jobs in flight.
            jobs += submit(old_client, "while the tables change", 6)
            old_client.wait(jobs[-6], "running", "succeeded")
            upgrade(database_address)
            jobs += submit(old_client, "with the new tables", 2)
            wait_all(old_client, jobs)

            # Migrate: a new API and reaper beside the old ones; the worker is still that of the last release.
            new.parts["api"].start()
            new.parts["reaper"].start()
            new.wait_ready()
            new_client = stack.enter_context(Client(new.url))
            for_old_worker = submit(new_client, "from the new API", 3)
            wait_all(new_client, for_old_worker)
            assert {new_client.job(job_id)["worker"] for job_id in for_old_worker} == {"worker0"}
            old.parts["api"].stop()

            # A new worker beside the old one, which then drains while it renders.
            new.workers = 2
            new.parts["worker1"].start()
            new.wait_ready()
            mixed = submit(new_client, "for both workers", 16)
            new_client.wait_for(mixed[0], lambda job: job["status"] != "queued")
            assert old.parts["worker0"].stop() == 0
            wait_all(new_client, mixed)
            after = submit(new_client, "afterwards", 2)
            wait_all(new_client, after)
            jobs += [*for_old_worker, *mixed, *after]
        check(database_address, jobs)
    finally:
        for farm in (old, new):
            farm.destroy()
        redis.stop()


def data_of(farm: FarmParts) -> dict[str, str]:
    return {"IMAGEFARM_DATA_DIR": str(farm.directory / "data")}


def submit(client: Client, prompt: str, count: int) -> list[str]:
    return [client.submit(f"{prompt} {number}", num_inference_steps=4)["id"] for number in range(count)]


def wait_all(client: Client, jobs: list[str]) -> None:
    for job_id in jobs:
        client.wait(job_id, "succeeded")


def check(url: str, jobs: list[str]) -> None:
    """Each job ended once, in one attempt or after a drain, and the farm was never idle for long while a job waited."""
    database = Database(url)
    try:
        with database.read() as session:
            statuses = {job.id: job.status for job in session.scalars(select(Job))}
            attempts = session.scalars(select(Attempt)).all()
            ends = session.scalars(select(JobEvent.job_id).where(JobEvent.to_status == "succeeded")).all()
            waits = [job.started_at - job.created_at for job in session.scalars(select(Job)) if job.started_at is not None]
    finally:
        database.dispose()
    assert statuses == dict.fromkeys(jobs, "succeeded")
    assert set(Counter(ends).values()) == {1}
    assert {attempt.worker for attempt in attempts} == {"worker0", "worker1"}
    assert max(waits) < MOST_IDLE_SECONDS
