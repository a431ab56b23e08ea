"""Whatever is on the broker, and whatever the broker answers, the same worker process goes on rendering."""

from __future__ import annotations

import base64
import json
import pickle
import time
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from benchmarks.faults.broker import junk_messages
from benchmarks.faults.parts import FarmParts, Part
from core.queue import RENDER_TASK, render_queue
from tests.conftest import Migrate
from tests.integration.farm.client import Client
from tests.integration.farm.conftest import StartFarm, sqlite_farm
from tests.integration.farm.test_outages import wait_log
from tests.servers.redis import RedisServer

ClientOf = Callable[[FarmParts], Client]
KEY = f"farm:{render_queue('demo')}"
PIDBOX = "farm:/0.celery.pidbox"


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, migrate: Migrate) -> Iterator[FarmParts]:
    """Yield a farm for the messages that must not change its worker."""
    with sqlite_farm(tmp_path_factory.mktemp("farm"), migrate, worker_capacity=2) as running:
        yield running


def process_id(worker: Part) -> int:
    assert worker.process is not None and worker.process.poll() is None, worker.log.read_text()[-3000:]
    return worker.process.pid


def render_all(client: Client, count: int) -> None:
    """Submit jobs and check that all of them succeed at their first attempt."""
    jobs = [client.submit(f"job {number}")["id"] for number in range(count)]
    for job_id in jobs:
        assert client.wait(job_id, "succeeded", "held", "failed")["attempt"] == 1


def test_no_message_ends_or_blocks_the_worker(farm: FarmParts, client_of: ClientOf) -> None:
    client, worker = client_of(farm), farm.parts["worker0"]
    before = process_id(worker)
    with Redis.from_url(farm.redis.url) as redis:
        for message in junk_messages("no-such-job"):
            redis.lpush(KEY, message)
            redis.publish(PIDBOX, message)
        for command in ("shutdown", "pool_shrink", "terminate", "rate_limit", "time_limit", "autoscale"):
            redis.publish(PIDBOX, remote_command(command))
        # More than the pool has threads: each message that kept one would end the renders below.
        render_all(client, 8)
        deadline = time.monotonic() + 300
        while redis.llen(KEY):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        render_all(client, 3)
    assert process_id(worker) == before
    wait_log(worker, "dropped a message")


def remote_command(name: str) -> str:
    """Return a broadcast of Celery's remote control."""
    body: dict[str, object] = {"method": name, "arguments": {}, "destination": None, "pattern": None, "matcher": None}
    envelope = {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"clock": 1},
        "properties": {
            "delivery_mode": 2,
            "delivery_info": {"exchange": "celery.pidbox", "routing_key": ""},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": "tag",
        },
    }
    return json.dumps(envelope)


def test_a_pickle_is_never_loaded(farm: FarmParts, client_of: ClientOf) -> None:
    seen = len(farm.parts["worker0"].log.read_text())
    with Redis.from_url(farm.redis.url) as redis:
        mark = farm.directory / "loaded"

        class Touch:
            def __reduce__(self) -> tuple[object, tuple[object, ...]]:
                return (open, (str(mark), "w"))

        arguments: list[object] = [[Touch()], {}, {}]
        body = base64.b64encode(pickle.dumps(arguments)).decode()
        for content_type in ("application/x-python-serialize", "application/json"):
            envelope = {
                "body": body,
                "content-encoding": "binary",
                "content-type": content_type,
                "headers": {"task": RENDER_TASK, "id": "x"},
                "properties": {
                    "delivery_info": {"exchange": "", "routing_key": "render.demo"},
                    "delivery_tag": "a",
                    "body_encoding": "base64",
                },
            }
            redis.lpush(KEY, json.dumps(envelope))
    render_all(client_of(farm), 2)
    assert not mark.exists()
    wait_log(farm.parts["worker0"], "refusing content of type", after=seen)


@pytest.mark.parametrize("fault", ["replica", "password", "memory", "killed connections"])
def test_the_worker_reconnects_after_every_error_of_the_broker(
    start_farm: StartFarm, client_of: ClientOf, fault: str
) -> None:
    farm = start_farm()
    client, worker = client_of(farm), farm.parts["worker0"]
    render_all(client, 1)
    before = process_id(worker)
    with Redis.from_url(farm.redis.url) as redis:
        other = RedisServer(farm.directory / "other").start()
        try:
            match fault:
                case "replica":
                    redis.replicaof("127.0.0.1", other.port)
                    wait_log(worker, "(?i)the broker failed .*read.?only")
                    redis.replicaof("NO", "ONE")
                case "password":
                    redis.config_set("requirepass", "changed")
                    redis.client_kill_filter(_type="normal", skipme=True)
                    redis.client_kill_filter(_type="pubsub")
                    wait_log(worker, "(?i)authentication required")
                    redis.config_set("requirepass", "")
                case "memory":
                    redis.config_set("maxmemory", "1")
                    waiting = client.submit()["id"]
                    assert client.wait(waiting, "succeeded", "queued")["attempt"] <= 1
                    redis.config_set("maxmemory", "0")
                    assert client.wait(waiting, "succeeded")["attempt"] == 1
                case _:
                    for _ in range(5):
                        redis.client_kill_filter(_type="normal", skipme=True)
                        redis.client_kill_filter(_type="pubsub")
            render_all(client, 3)
        finally:
            other.stop()
    assert process_id(worker) == before
