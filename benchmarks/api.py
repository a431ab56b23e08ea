"""Measure throughput and latency of a whole farm with the synthetic renderer: submissions, polls, whole jobs.

    python -m benchmarks.api --database sqlite
    python -m benchmarks.api --database postgres

Load generator, API, worker, Redis and database share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.parts import FarmParts
from benchmarks.load.connection import Connection, submit
from db.migrate import upgrade
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer


@dataclass(frozen=True)
class Plan:
    """How many calls of each kind to make."""

    submissions: int = 2000
    connections: int = 16
    jobs: int = 1500
    one_at_a_time: int = 1000
    waiters: int = 1000
    jobs_at_idle: int = 200


async def timed(action: Callable[[], Awaitable[object]]) -> float:
    """Return the action's milliseconds."""
    started = time.perf_counter()
    await action()
    return (time.perf_counter() - started) * 1000


def percentiles(milliseconds: list[float]) -> str:
    """Return median and 99th percentile as text."""
    ordered = sorted(milliseconds)
    return f"p50 {statistics.median(ordered):.1f} ms, p99 {ordered[int(len(ordered) * 0.99) - 1]:.1f} ms"


async def flood(port: int, plan: Plan, count: int) -> tuple[float, list[str]]:
    """Submit `count` jobs over several connections at once; return (submissions a second, ids)."""
    numbers = iter(range(count))
    ids: list[str] = []

    async def send() -> None:
        connection = await Connection.open(port)
        for number in numbers:
            ids.append(await submit(connection, number, owner=f"bench{number % 5}"))
        await connection.close()

    started = time.perf_counter()
    await asyncio.gather(*(send() for _ in range(plan.connections)))
    return count / (time.perf_counter() - started), ids


async def one_at_a_time(port: int, count: int, offset: int) -> tuple[list[float], list[float]]:
    """Return milliseconds of submits and of polls, made one after the other."""
    connection = await Connection.open(port)
    submits, polls = [], []
    for number in range(count):
        started = time.perf_counter()
        job_id = await submit(connection, offset + number)
        submits.append((time.perf_counter() - started) * 1000)
        polls.append(await timed(lambda path=f"/v1/jobs/{job_id}": connection.call("GET", path)))  # type: ignore[misc]
    await connection.close()
    return submits, polls


async def submit_to_done(port: int, count: int) -> list[float]:
    """Return milliseconds from submit to the response with the finished job, one at a time: `Prefer: wait`."""
    connection = await Connection.open(port)
    body = b'{"prompt": "a red fox", "width": 64, "height": 64, "num_inference_steps": 1}'
    found = []
    for _ in range(count):
        started = time.perf_counter()
        status, answer = await connection.call("POST", "/v1/jobs", body, "Prefer: wait=30\r\n")
        if status != 200:
            raise RuntimeError(f"{status}: {answer[:300]!r}")
        found.append((time.perf_counter() - started) * 1000)
    await connection.close()
    return found


async def open_waiters(port: int, ids: list[str], count: int) -> list[Connection]:
    """Open `count` connections that wait for these jobs, half of them event streams, half long polls."""
    found = []
    for number in range(count):
        connection = await Connection.open(port)
        job_id = ids[number % len(ids)]
        connection.send("GET", f"/v1/jobs/{job_id}/events" if number % 2 else f"/v1/jobs/{job_id}?wait=300")
        if number % 2:
            await connection.first_line()
        found.append(connection)
    return found


async def without_workers(port: int, plan: Plan) -> None:
    """Measure submits and polls while no worker runs, and again with many waiting callers."""
    rate, ids = await flood(port, plan, plan.submissions)
    print(f"  submissions: {rate:.0f}/s over {plan.connections} connections")
    submits, polls = await one_at_a_time(port, plan.one_at_a_time, plan.submissions)
    print(f"  one at a time: submit {percentiles(submits)}; poll {percentiles(polls)}")
    waiting = await open_waiters(port, ids, plan.waiters)
    await asyncio.sleep(2)
    with_waiters, _ = await one_at_a_time(port, plan.one_at_a_time, plan.submissions * 2)
    ratio = sorted(with_waiters)[int(len(with_waiters) * 0.99) - 1] / sorted(submits)[int(len(submits) * 0.99) - 1]
    print(f"  with {plan.waiters} waiting callers: submit {percentiles(with_waiters)}; p99 is {ratio:.2f}x")
    for connection in waiting:
        await connection.close()


async def wait_drained(port: int) -> None:
    """Return once no job is queued or running."""
    import json

    connection = await Connection.open(port)
    while True:
        _, answer = await connection.call("GET", "/v1/queue")
        queue = json.loads(answer)
        if queue["queued"] + queue["running"] == 0:
            break
        await asyncio.sleep(0.1)
    await connection.close()


async def with_worker(port: int, plan: Plan) -> None:
    """Measure jobs from submit to done, on an idle farm and under load."""
    await wait_drained(port)
    latencies = await submit_to_done(port, plan.jobs_at_idle)
    print(f"  submit to done at idle: {percentiles(latencies)}")
    started = time.perf_counter()
    await flood(port, plan, plan.jobs)
    await wait_drained(port)
    print(f"  end to end: {plan.jobs / (time.perf_counter() - started):.0f} jobs/s ({plan.jobs} jobs)")


def run(database: str, directory: Path, plan: Plan, workers: int, capacity: int) -> None:
    """Measure on one database."""
    server = PostgresServer(directory / "pg").start() if database == "postgres" else None
    redis = RedisServer(directory / "redis").start()
    url = server.create_database() if server else f"sqlite:///{directory / 'farm.db'}"
    upgrade(url)
    settings = {
        "IMAGEFARM_MAX_QUEUED_PER_OWNER": "0",
        "IMAGEFARM_LOG_LEVEL": "WARNING",
        "IMAGEFARM_WORKER_CAPACITY": str(capacity),
    }
    parts = FarmParts(directory / "farm", url, redis, workers=workers, settings=settings)
    print(f"{database}, {os.cpu_count()} cores, {workers} worker(s) of {capacity} jobs at once:")
    try:
        _measure(parts, plan)
    finally:
        parts.stop()
        parts.destroy()
        redis.stop()
        if server is not None:
            server.stop()


def _measure(parts: FarmParts, plan: Plan) -> None:
    parts.start()
    for worker in parts.worker_parts():
        worker.stop()
    asyncio.run(without_workers(parts.port, plan))
    for worker in parts.worker_parts():
        worker.start()
    parts.wait_ready()
    asyncio.run(with_worker(parts.port, plan))


def main() -> int:
    """Print one block per database."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("sqlite", "postgres"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--capacity", type=int, default=96, help="jobs in flight per worker")
    given = parser.parse_args()
    for name in [given.database] if given.database else ["sqlite", "postgres"]:
        with tempfile.TemporaryDirectory(prefix="imagefarm-api-") as directory:
            run(name, Path(directory), Plan(), given.workers, given.capacity)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
