"""Two APIs behind a proxy, two reapers and two workers over one Postgres and Redis; one of each dies."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import psutil
import pytest
from sqlalchemy import select

from benchmarks.faults.parts import FarmParts
from db.api_keys import NewKey, create_key
from db.database import Database
from db.tables import Attempt, JobEvent
from imagefarm import ImageFarm
from imagefarm.events import Progressed
from tests.conftest import Migrate
from tests.integration.farm.client import Client, wait_until
from tests.servers.farm import clean_environment
from tests.servers.forked_parts import fork_part, run_command
from tests.servers.ports import free_port
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import RoundRobin, proxied
from tests.servers.redis import RedisServer


class Two:
    """The farm, the address of the proxy, and clients that open a connection for each call."""

    def __init__(self, farm: FarmParts, proxy: RoundRobin, url: str, second_port: int) -> None:
        self.farm, self.proxy, self.url = farm, proxy, url
        self.urls = (farm.url, f"http://127.0.0.1:{second_port}")
        self.client = Client(url)
        self.client.http.close()
        self.client.http = httpx.Client(base_url=url, timeout=30, limits=httpx.Limits(max_keepalive_connections=0))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer, migrate: Migrate) -> Iterator[Two]:
    directory = tmp_path_factory.mktemp("two")
    url = postgres_server.create_database()
    migrate(url)
    redis = RedisServer(directory / "redis").start()
    settings = {
        "IMAGEFARM_SYNTHETIC_STEP_SECONDS": "0.3",
        "IMAGEFARM_LEASE_SECONDS": "10",
        "IMAGEFARM_HEARTBEAT_SECONDS": "1",
        "IMAGEFARM_SECRET_KEY": "the same 32 characters for both APIs",
    }
    farm = FarmParts(directory / "farm", url, redis, 2, settings, launch=fork_part)
    second_port = free_port()
    farm.add("api2", ["api", "--port", str(second_port)])
    farm.add("reaper2", ["reaper"])
    proxy = RoundRobin([farm.port, second_port])
    try:
        farm.start()
        wait_answers(f"http://127.0.0.1:{second_port}")
        with proxied(proxy) as address:
            yield Two(farm, proxy, address, second_port)
    finally:
        farm.destroy()
        redis.stop()
        postgres_server.drop_database(url)


def wait_answers(url: str, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if httpx.get(f"{url}/healthz").is_success:
                return
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_submits_and_polls_reach_both(two: Two) -> None:
    before = Counter(two.proxy.served)
    jobs = [two.client.submit(f"job {number}")["id"] for number in range(10)]
    for job_id in jobs:
        while (answer := two.client.http.get(f"/v1/jobs/{job_id}", params={"wait": 30})).json()["status"] != "succeeded":
            assert answer.json()["status"] in ("queued", "running")
        image = two.client.http.get(answer.json()["outputs"][0]["content_url"])
        assert image.content.startswith(b"\x89PNG")
    served = two.proxy.served - before
    assert len(served) == 2 and abs(served.most_common()[0][1] - served.most_common()[1][1]) <= 1


def test_a_key_sent_to_both_at_once_makes_one_job(two: Two) -> None:
    body = {"prompt": "a cat", "width": 64, "height": 64, "num_inference_steps": 1}

    def submit(number: int) -> str:
        headers = {"Idempotency-Key": f"once-{number // 4}"}
        answer = httpx.post(f"{two.urls[number % 2]}/v1/jobs", json=body, headers=headers, timeout=120)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return str(answer.json()["id"])

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(submit, range(24)))
    assert all(len(set(ids[first : first + 4])) == 1 for first in range(0, 24, 4))
    assert len(set(ids)) == 6
    for job_id in set(ids):
        two.client.wait(job_id, "succeeded")


def test_events_of_one_follow_a_job_that_the_other_accepts_and_cancels(two: Two) -> None:
    first, second = two.urls
    body = {"prompt": "a cat", "num_inference_steps": 100, "width": 64, "height": 64}
    accepted = httpx.post(f"{first}/v1/jobs", json=body)
    assert accepted.status_code == httpx.codes.ACCEPTED, accepted.text
    job_id = accepted.json()["id"]
    started = threading.Event()
    with ImageFarm(second) as farm:

        def follow() -> None:
            for event in farm.events(job_id):
                if isinstance(event, Progressed):
                    started.set()

        reader = threading.Thread(target=follow)
        reader.start()
        assert started.wait(300)
        assert httpx.post(f"{first}/v1/jobs/{job_id}/cancel").is_success
        reader.join(300)
        assert not reader.is_alive()
        assert farm.get(job_id).status == "canceled"


def test_the_command_line_pauses_resumes_and_drains(two: Two) -> None:
    def run(*words: str) -> str:
        done = run_command(*words, "--url", two.url, environment=clean_environment(), cwd=two.farm.directory)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def state() -> str:
        return str(two.client.http.get("/v1/workers/worker1").json()["state"])

    assert "worker1 claims no more jobs" in run("workers", "pause", "worker1")
    assert state() == "paused" and re.search(r"worker1 +paused", run("workers", "list"))
    assert "claims jobs again" in run("workers", "resume", "worker1")
    assert state() == "ready"
    host = two.client.http.get("/v1/workers/worker1").json()["host"]
    assert "claims no more jobs" in run("nodes", "drain", host)
    assert state() == "paused"
    assert "claims jobs again" in run("nodes", "resume", host)
    process = two.farm.parts["worker1"].process
    assert "finishes its 0 jobs and stops" in run("workers", "drain", "worker1")
    assert process is not None and process.wait(300) == 0
    two.farm.parts["worker1"].start()
    wait_until(lambda: state() == "ready")


def test_jobs_survive_the_end_of_an_api_a_reaper_and_a_worker(two: Two) -> None:
    """The other reaper requeues the worker's jobs once each, and the other API goes on."""
    jobs = [two.client.submit(f"job {number}", num_inference_steps=20)["id"] for number in range(24)]
    wait_until(lambda: holds_a_job(two, "worker0"))
    for name in ("worker0", "api2", "reaper"):
        part = two.farm.parts[name]
        engines = part.engines()
        part.kill()
        for engine in engines:
            with suppress(psutil.NoSuchProcess):
                engine.kill()
    with ImageFarm(two.url) as farm:
        ended = [farm.wait(job_id, timeout_seconds=200) for job_id in jobs]
        more = farm.wait(farm.submit("afterwards", width=64, height=64, num_inference_steps=1), timeout_seconds=200)
    assert more.status == "succeeded"
    assert {job.status for job in ended} == {"succeeded"}
    history = Database(two.farm.database_url)
    try:
        with history.read() as session:
            rows = session.execute(select(JobEvent.job_id, JobEvent.to_status).where(JobEvent.job_id.in_(jobs))).all()
            of_killed = select(Attempt.job_id).where(Attempt.job_id.in_(jobs), Attempt.worker == "worker0")
            taken = set(session.scalars(of_killed))
    finally:
        history.dispose()
    ends = Counter(job_id for job_id, status in rows if status == "succeeded")
    queued = Counter(job_id for job_id, status in rows if status == "queued")
    assert set(ends.values()) == {1} and len(ends) == len(jobs)
    again = {job_id for job_id, count in queued.items() if count > 1}
    assert again and again <= taken
    assert max(queued.values()) == 2
    for name in ("api2", "reaper", "worker0"):
        two.farm.parts[name].start()
    wait_answers(two.urls[1])


def holds_a_job(two: Two, worker: str) -> bool:
    """Return whether the worker holds a job."""
    running = two.client.http.get("/v1/jobs", params={"status": "running"}).json()["items"]
    return any(job["worker"] == worker for job in running)


def test_a_session_of_one_is_known_to_the_other_and_ends_for_both(two: Two) -> None:
    """Comes last: from its key on, the farm answers to keys only."""
    database = Database(two.farm.database_url)
    try:
        _, key = create_key(database, NewKey(name="page"))
    finally:
        database.dispose()
    first, second = (httpx.Client(base_url=url) for url in two.urls)
    with first, second:
        wait_until(
            lambda: first.get("/v1/session").json()["keys_needed"] and second.get("/v1/session").json()["keys_needed"]
        )
        assert first.post("/v1/session", json={"key": key}).json()["signed_in"]
        second.cookies.update(first.cookies)
        assert second.get("/v1/session").json()["owner"] == first.get("/v1/session").json()["owner"]
        assert second.get("/v1/jobs").status_code == httpx.codes.OK
        cookies = dict(first.cookies)
        assert second.delete("/v1/session").status_code == httpx.codes.NO_CONTENT
        first.cookies.update(cookies)
        wait_until(lambda: first.get("/v1/jobs").status_code == httpx.codes.UNAUTHORIZED)
