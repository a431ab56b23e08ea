"""Measure the farm against a bare FastAPI and Celery application, side by side in one run.

    python -m benchmarks.throughput --database sqlite
    python -m benchmarks.throughput --jobs 1000 --runs 3

Both have the same load generator, database server, Redis with an append-only file, and fsynced PNGs; each has its own
database, Redis server and processes. They take turns within each run, so that other load on the machine affects both. The
peer (`benchmarks/peer`) keeps no promise: no leases, history, fair order, limits or events.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.api import Plan, flood
from benchmarks.faults.parts import FarmParts
from benchmarks.load.connection import Connection, submit
from benchmarks.peer.processes import Peer
from db.migrate import upgrade
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer

POLL_SECONDS = 0.001
DRAINED_POLL_SECONDS = 0.05
DONE = ("succeeded", "done")
WARM_UP_JOBS = 200


@dataclass(frozen=True)
class Side:
    """One of the two systems: its name, port and root processes.

    `server`: the id of Postgres' process, which serves both, and the name of this system's database in it.
    """

    name: str
    port: int
    processes: dict[str, int]
    server: tuple[int, str] | None = None

    def cpu_seconds(self) -> dict[str, float]:
        """Return the processor seconds of each process, and of its children."""
        found = {}
        for name, process_id in self.processes.items():
            root = psutil.Process(process_id)
            found[name] = sum(root.cpu_times()[:2])
            if children := root.children(recursive=True):
                found[f"{name}'s engine"] = sum(sum(each.cpu_times()[:2]) for each in children)
        if self.server is not None:
            process_id, database = self.server
            backends = [
                each for each in psutil.Process(process_id).children() if f" {database} " in " ".join(each.cmdline())
            ]
            found["postgres"] = sum(sum(each.cpu_times()[:2]) for each in backends)
        return found


@dataclass(frozen=True)
class Figures:
    """One side's figures of one run. `idle_ms`: from the submit to the end of a job that is alone in the farm, median."""

    submits: float
    idle_ms: float
    jobs: float
    cpu_ms: dict[str, float]


async def measure(side: Side, jobs: int, idle_jobs: int, connections: int) -> Figures:
    """Measure one side once: jobs one at a time, then a flood."""
    idle = [await submit_to_done(side.port, number) for number in range(idle_jobs)]
    before, started = side.cpu_seconds(), time.perf_counter()
    submits, _ = await flood(side.port, Plan(connections=connections), jobs)
    await wait_drained(side.port)
    seconds = time.perf_counter() - started
    cpu = {name: (used - before[name]) / jobs * 1000 for name, used in side.cpu_seconds().items()}
    return Figures(submits, statistics.median(idle) * 1000, jobs / seconds, cpu)


async def submit_to_done(port: int, number: int) -> float:
    """Return the seconds until a poll, one each millisecond, sees the job's end."""
    connection = await Connection.open(port)
    started = time.perf_counter()
    job_id = await submit(connection, number)
    while True:
        _, answer = await connection.call("GET", f"/v1/jobs/{job_id}")
        if json.loads(answer)["status"] in DONE:
            break
        await asyncio.sleep(POLL_SECONDS)
    seconds = time.perf_counter() - started
    await connection.close()
    return seconds


async def wait_drained(port: int) -> None:
    """Return once no job is queued or running."""
    connection = await Connection.open(port)
    while True:
        _, answer = await connection.call("GET", "/v1/queue")
        queue = json.loads(answer)
        if queue["queued"] + queue["running"] == 0:
            break
        await asyncio.sleep(DRAINED_POLL_SECONDS)
    await connection.close()


@contextmanager
def both_sides(database: str, directory: Path, capacity: int, threads: int) -> Iterator[tuple[Side, Side]]:
    """Start the farm and the peer; stop them at the end."""
    server = PostgresServer(directory / "pg").start() if database == "postgres" else None
    urls = [server.create_database() if server else f"sqlite:///{directory / name}.db" for name in ("farm", "peer")]
    brokers = [RedisServer(directory / f"redis-{name}").start() for name in ("farm", "peer")]
    upgrade(urls[0])
    settings = {
        "IMAGEFARM_MAX_QUEUED_PER_OWNER": "0",
        "IMAGEFARM_LOG_LEVEL": "WARNING",
        "IMAGEFARM_WORKER_CAPACITY": str(capacity),
    }
    farm = FarmParts(directory / "farm", urls[0], brokers[0], settings=settings)
    peer = Peer(directory / "peer", urls[1], brokers[1].url, threads)
    try:
        peer.start()
        farm.start()
        parts = {name: part.process.pid for name, part in farm.parts.items() if part.process is not None}
        bare = {name: process.pid for name, process in peer.processes.items()}
        servers = [(server.pid, url.rpartition("/")[2]) if server else None for url in urls]
        yield (
            Side("farm", farm.port, parts | {"redis": brokers[0].pid}, servers[0]),
            Side("bare", peer.port, bare | {"redis": brokers[1].pid}, servers[1]),
        )
    finally:
        peer.stop()
        farm.stop()
        farm.destroy()
        for broker in brokers:
            broker.stop()
        if server is not None:
            server.stop()


def run(database: str, directory: Path, given: argparse.Namespace) -> None:
    """Print the figures of each run and the medians of the ratios."""
    print(f"{database}: farm / bare = ratio", flush=True)
    ratios: list[tuple[float, float, float]] = []
    with both_sides(database, directory, given.capacity, given.threads) as sides:
        for side in sides:
            asyncio.run(measure(side, WARM_UP_JOBS, 10, given.connections))
        for number in range(given.runs):
            order = sides if number % 2 == 0 else sides[::-1]
            found = {side.name: asyncio.run(measure(side, given.jobs, given.idle_jobs, given.connections)) for side in order}
            ours, bare = found["farm"], found["bare"]
            ratios.append((ours.submits / bare.submits, ours.idle_ms / bare.idle_ms, ours.jobs / bare.jobs))
            print(_row(ours, bare, ratios[-1]), flush=True)
    medians = [statistics.median(each) for each in zip(*ratios, strict=True)]
    print("  medians of the ratios: submits {:.2f}, idle {:.2f}, end to end {:.2f}".format(*medians), flush=True)


def _row(ours: Figures, bare: Figures, ratios: tuple[float, float, float]) -> str:
    submits = f"submits {ours.submits:.0f} / {bare.submits:.0f} per s = {ratios[0]:.2f}"
    idle = f"submit to done {ours.idle_ms:.1f} / {bare.idle_ms:.1f} ms = {ratios[1]:.2f}"
    jobs = f"end to end {ours.jobs:.0f} / {bare.jobs:.0f} jobs/s = {ratios[2]:.2f}"
    cpu = [" ".join(f"{name} {used:.2f}" for name, used in side.cpu_ms.items()) for side in (ours, bare)]
    all_of = [sum(side.cpu_ms.values()) for side in (ours, bare)]
    total = f"all {all_of[0]:.2f} / {all_of[1]:.2f} = {all_of[0] / all_of[1]:.2f}"
    return f"  {submits}; {idle}; {jobs}\n    processor ms per job: {total}; {cpu[0]} / {cpu[1]}"


def main() -> int:
    """Print one block per database."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("sqlite", "postgres"))
    parser.add_argument("--jobs", type=int, default=1000, help="jobs of each flood")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--idle-jobs", type=int, default=100, help="jobs one at a time")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--capacity", type=int, default=96, help="jobs that the farm's worker holds")
    parser.add_argument("--threads", type=int, default=16, help="threads of the peer's worker")
    given = parser.parse_args()
    for name in [given.database] if given.database else ["sqlite", "postgres"]:
        with tempfile.TemporaryDirectory(prefix="imagefarm-throughput-") as directory:
            run(name, Path(directory), given)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
