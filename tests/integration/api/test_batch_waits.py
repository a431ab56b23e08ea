"""Waiting for a whole batch without polling, while its jobs end, are retried or deleted. On both databases."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from api import batches
from api.batches import wait_until_all_settled
from api.farm import Farm
from api.metrics import Metrics
from api.watch import watcher as watching
from core.settings import Settings
from db.batches import NewBatch, open_members, submit_batch
from db.database import Database
from db.jobs.retry import retry
from db.jobs.submit import NewJob
from db.retention import delete_job
from db.tables import Job
from tests.integration.api.conftest import BOTH, SettingsMaker
from tests.integration.api.running import WorkerSide, serving
from tests.servers.redis import RedisServer

pytestmark = BOTH

BASE = {"width": 64, "height": 64}
INPUT = {**BASE, "seed": 1, "num_images": 1, "prompt": "a", "num_inference_steps": 4, "guidance_scale": 0.0}


def batch_of(database: Database, count: int, max_attempts: int = 3) -> str:
    job = NewJob("local", "demo", "a", INPUT, max_attempts=max_attempts)
    return submit_batch(database, NewBatch("local", {}, [(job, {})] * count)).batch.id


@asynccontextmanager
async def farm_of(settings: Settings) -> AsyncIterator[Farm]:
    """Start the parts of an API process; yield them once they listen to Redis."""
    farm = Farm(settings, Metrics())
    farm.start()
    try:
        async with asyncio.timeout(120):
            while not farm.watcher.listening:
                await asyncio.sleep(0.01)
        yield farm
    finally:
        await farm.close()


class QueryCounter:
    """Counts the queries of a batch's open jobs; runs the action `after[n]` after the n-th, on its thread."""

    def __init__(self) -> None:
        self.count = 0
        self._counted = threading.Condition()
        self.after: dict[int, object] = {}

    def __call__(self, database: Database, batch_id: str) -> Sequence[str]:
        found = open_members(database, batch_id)
        with self._counted:
            self.count += 1
            self._counted.notify_all()
        action = self.after.get(self.count)
        if callable(action):
            action()
        return found

    def wait_for(self, count: int) -> None:
        with self._counted:
            assert self._counted.wait_for(lambda: self.count >= count, 120)


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> QueryCounter:
    counted = QueryCounter()
    monkeypatch.setattr(batches, "open_members", counted)
    return counted


@contextmanager
def waiting_client(url: str) -> Iterator[list[httpx.Response]]:
    """Wait for a batch on a thread; the response is in the yielded list at the end."""
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(httpx.get(url, params={"wait": 120}, timeout=180)))
    thread.start()
    yield answers
    thread.join(120)
    assert not thread.is_alive()


def finish_all(worker: WorkerSide, *, publish: bool = True) -> None:
    while (job := worker.claim()) is not None:
        worker.finish(job, publish=publish)


def test_waiting_for_a_thousand_jobs_takes_three_queries(
    settings: Settings, worker: WorkerSide, queries: QueryCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "POLL_SECONDS", 1000.0)
    batch_id = batch_of(worker.database, 1000)

    async def wait() -> int:
        async with farm_of(settings) as farm:
            waiting = [asyncio.create_task(wait_until_all_settled(farm, batch_id, 60)) for _ in range(20)]
            await asyncio.to_thread(queries.wait_for, 40)
            while farm.watcher.hub.waiters < len(waiting):
                await asyncio.sleep(0.01)
            jobs = open_members(worker.database, batch_id)
            for job_id in jobs[1:]:
                farm.watcher.hub.changed(job_id, 2, "succeeded")
            assert not any(task.done() for task in waiting)
            assert queries.count == 40
            with worker.database.write() as session:
                session.execute(update(Job).values(status="canceled"))
            farm.watcher.hub.changed(jobs[0], 2, "canceled")
            await asyncio.gather(*waiting)
            return farm.watcher.hub.waiters + len(farm.watcher.hub.watched)

    assert asyncio.run(wait()) == 0
    assert queries.count == 60


@pytest.mark.parametrize("query", [1, 2])
def test_jobs_that_settle_between_query_and_subscription_are_noticed(
    settings: Settings, worker: WorkerSide, queries: QueryCounter, monkeypatch: pytest.MonkeyPatch, query: int
) -> None:
    """The first case publishes nothing and no poll runs; the second publishes before the hub's state is read."""
    monkeypatch.setattr(watching, "POLL_SECONDS", 1000.0)
    batch_id = batch_of(worker.database, 2)
    queries.after[query] = lambda: finish_all(worker, publish=query == 2)

    async def wait() -> None:
        async with farm_of(settings) as farm, asyncio.timeout(120):
            await wait_until_all_settled(farm, batch_id, 60)

    asyncio.run(wait())
    assert not open_members(worker.database, batch_id)


def test_jobs_deleted_without_an_event_do_not_block_waiters(
    settings: Settings, worker: WorkerSide, queries: QueryCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.1)
    batch_id = batch_of(worker.database, 2)

    def vanish() -> None:
        while (job := worker.claim()) is not None:
            worker.finish(job, publish=False)
            delete_job(worker.database, job.id)

    queries.after[2] = vanish

    async def wait() -> None:
        async with farm_of(settings) as farm, asyncio.timeout(120):
            await wait_until_all_settled(farm, batch_id, 60)

    asyncio.run(wait())


def test_a_held_job_that_is_retried_meanwhile_is_awaited(
    settings: Settings, worker: WorkerSide, queries: QueryCounter
) -> None:
    batch_id = batch_of(worker.database, 2, max_attempts=1)
    with serving(settings) as url, waiting_client(f"{url}/v1/batches/{batch_id}") as answers:
        queries.wait_for(2)
        first = worker.claim()
        assert first is not None
        assert worker.fail(first, "engine_lost").status == "held"
        second = worker.claim()
        assert second is not None
        retry(worker.database, first.id)
        worker.finish(second)
        queries.wait_for(4)  # it has found the retried job and waits for it
        finish_all(worker)
    assert answers[0].json()["counts"] == {"succeeded": 2}


def test_a_batch_is_awaited_without_redis(
    make_settings: SettingsMaker, worker: WorkerSide, tmp_path: Path, queries: QueryCounter
) -> None:
    redis = RedisServer(tmp_path / "redis").start()
    with serving(make_settings(redis_url=redis.url)) as url:
        redis.kill()
        batch_id = batch_of(worker.database, 3)
        with waiting_client(f"{url}/v1/batches/{batch_id}") as answers:
            queries.wait_for(2)
            finish_all(worker, publish=False)
    assert answers[0].json()["counts"] == {"succeeded": 3}


def test_a_stop_answers_clients_that_wait_for_a_batch(settings: Settings, worker: WorkerSide, queries: QueryCounter) -> None:
    batch_id = batch_of(worker.database, 1)
    with ExitStack() as server:
        url = server.enter_context(serving(settings))
        with waiting_client(f"{url}/v1/batches/{batch_id}") as answers:
            queries.wait_for(2)
            server.close()
    assert answers[0].json()["status"] == "running"
