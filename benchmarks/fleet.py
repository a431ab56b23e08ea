"""Measure how a farm grows with its workers: 10, 30, 100 and 300 simulated ones at 3 images/s each.

    python -m benchmarks.fleet --json fleet.json --chart fleet.png
    python -m benchmarks.fleet --workers 100 --storage files
    python -m benchmarks.fleet --workers 100 --images-per-second 0.85 --control-cores 0.5

API, reaper, Redis, Postgres, Celery's messages and the S3 server are real, and so is the workers' code from the hint to the
stored image (benchmarks/simulated_workers). Everything shares this machine, the workers and the load generator too.

The last line shows what a control box carries whose workers have processors of their own: it holds API, reaper, Redis and
Postgres together to a quarter of two cores and leaves the rest to the others. Four times its jobs/s is what two cores carry.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import psutil
from sqlalchemy import func, select

from benchmarks.faults.parts import FarmParts
from benchmarks.load.connection import Connection, submit
from benchmarks.load.cpu_share import cpu_share
from benchmarks.load.line_chart import Line, draw_lines
from db.database import Database
from db.migrate import upgrade
from db.tables import Job, JobEvent
from tests.servers.farm import clean_environment
from tests.servers.ports import free_port, wait_listening
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.servers.s3 import BUCKET

OWNERS = 5
IDLE_SECONDS = 5.0
CONTROL = ("API", "reaper", "Postgres", "Redis")
OFFERED = 0.9
"""Share of what the workers could render that is submitted: at all of it the queue, and with it the waits, grow for ever."""
DRAIN_SECONDS = 300.0


@dataclass(frozen=True)
class Figures:
    """One size of the fleet. `wanted`: jobs/s that were to be submitted; waits are from submit to claim, in ms.

    `steady`: jobs/s that ended in the later half of the submits. `cores`: processor seconds a second of each part;
    `idle_cores`: the same without jobs. `lost`: accepted jobs that did not succeed.
    """

    workers: int
    wanted: float
    submitted: float
    jobs: float
    steady: float
    count: int
    wait_p50: float
    wait_p99: float
    total_p50: float
    total_p99: float
    lost: int
    cores: dict[str, float]
    idle_cores: dict[str, float]
    load: float

    @property
    def control_ms(self) -> float:
        """Processor milliseconds that API, reaper, Redis and Postgres spend on a job; not those for idle workers."""
        return 1000 * sum(self.cores[name] - self.idle_cores[name] for name in CONTROL) / self.jobs


@dataclass(frozen=True)
class Load:
    """How fast each worker renders, and over how many connections most of what they can render is submitted.

    `control_cores`: what the farm's control parts are held to while they are measured.
    """

    images_per_second: float
    connections: int
    control_cores: float | None = None

    def offered(self, workers: int) -> float:
        """Jobs/s to submit for this many workers."""
        return workers * self.images_per_second * OFFERED


class Fleet:
    """The farm without workers, and its simulated workers."""

    def __init__(self, farm: FarmParts, database: Database, servers: dict[str, int], load: Load) -> None:
        self._farm, self._database, self._servers, self._load = farm, database, servers, load
        self._started = 0  # The names of workers that were killed are not free at once.

    def measure(self, workers: int, seconds: float, warm_up: float = 0.0) -> Figures:
        """Submit for `seconds` most of what the workers can render, or as much as the API takes, and wait for the end.

        `warm_up`: seconds of submits before, which do not count. New connections plan every statement anew: Postgres
        keeps a plan once a connection has used it some ten times.
        """
        with self._running(workers) as processes:
            if warm_up:
                asyncio.run(self._submit(self._load.offered(workers), warm_up))
                self._wait_done()
            with self._held_to_share():
                idle_cores = self._cores(processes, lambda: time.sleep(IDLE_SECONDS))
                since, count, submitted = time.time(), 0, 0.0

                def work() -> None:
                    nonlocal count, submitted
                    started = time.monotonic()
                    count = asyncio.run(self._submit(self._load.offered(workers), seconds))
                    submitted = count / (time.monotonic() - started)
                    self._wait_done()

                cores = self._cores(processes, work)
            return self._figures(workers, submitted, count, (since, seconds), cores, idle_cores)

    def _held_to_share(self) -> AbstractContextManager[None]:
        """Hold the control parts to their share, if there is one."""
        if self._load.control_cores is None:
            return nullcontext()
        parts = self._roots()
        return cpu_share(self._load.control_cores, [each for name in CONTROL for each in parts[name]])

    def _cores(self, processes: list[int], action: Callable[[], object]) -> dict[str, float]:
        """Return the processor seconds a second of each part while `action` runs."""
        before, started = self._cpu(processes), time.monotonic()
        action()
        spent = time.monotonic() - started
        return {name: round((used - before[name]) / spent, 2) for name, used in self._cpu(processes).items()}

    @contextmanager
    def _running(self, workers: int) -> Iterator[list[int]]:
        """Run the workers and yield the id of their parent process."""
        words = [str(self._started), str(workers), str(1 / self._load.images_per_second)]
        self._started += workers
        with (self._farm.directory / "workers.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.simulated_workers", *words],
                env=self._farm.parts["reaper"].environment,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert process.stdout is not None
        try:
            if process.stdout.readline() != b"ready\n":
                log_end = (self._farm.directory / "workers.log").read_text()[-2000:]
                raise RuntimeError(f"simulated workers did not start: {log_end}")
            yield [process.pid]
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    async def _submit(self, per_second: float, seconds: float) -> int:
        """Submit at a steady rate over several connections; late calls are made at once. Return how many there were."""
        total = int(per_second * seconds)
        numbers = iter(range(total))
        started = time.monotonic()

        async def send() -> int:
            connection = await Connection.open(self._farm.port)
            done = 0
            for number in numbers:
                await asyncio.sleep(max(0.0, started + number / per_second - time.monotonic()))
                if time.monotonic() - started > seconds:
                    break
                await submit(connection, number, owner=f"fleet{number % OWNERS}")
                done += 1
            await connection.close()
            return done

        return sum(await asyncio.gather(*(send() for _ in range(self._load.connections))))

    def _wait_done(self) -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        open_jobs = select(func.count()).select_from(Job).where(Job.status.in_(("queued", "running")))
        while time.monotonic() < deadline:
            with self._database.read() as session:
                if not session.scalar(open_jobs):
                    return
            time.sleep(0.25)

    def _cpu(self, workers: list[int]) -> dict[str, float]:
        """Return processor seconds by part, those of their live children too."""
        roots = self._roots() | {"workers": workers, "load generator": [os.getpid()]}
        return {name: sum(_cpu_of(each, own=name == "load generator") for each in found) for name, found in roots.items()}

    def _roots(self) -> dict[str, list[int]]:
        """Return the processes of each part of the farm, whose children belong to it."""
        parts = {"API": [self._farm.parts["api"]], "reaper": [self._farm.parts["reaper"]]}
        roots = {name: [part.process.pid for part in found if part.process] for name, found in parts.items()}
        return roots | {name: [process_id] for name, process_id in self._servers.items()}

    def _figures(
        self,
        workers: int,
        submitted: float,
        count: int,
        submits: tuple[float, float],
        cores: dict[str, float],
        idle_cores: dict[str, float],
    ) -> Figures:
        since, seconds = submits
        claimed = select(JobEvent.job_id, func.min(JobEvent.at).label("at")).where(JobEvent.to_status == "running")
        first = claimed.group_by(JobEvent.job_id).subquery()
        rows = select(Job.status, Job.created_at, first.c.at, Job.completed_at).join(
            first, first.c.job_id == Job.id, isouter=True
        )
        with self._database.read() as session:
            jobs = session.execute(rows.where(Job.created_at >= since)).all()
        done = [job for job in jobs if job.status == "succeeded"]
        waits = sorted(1000 * (job.at - job.created_at) for job in done)
        totals = sorted(1000 * (job.completed_at - job.created_at) for job in done)
        ends = sorted(job.completed_at for job in done)
        return Figures(
            workers=workers,
            wanted=round(self._load.offered(workers), 1),
            submitted=round(submitted, 1),
            jobs=round(len(done) / (ends[-1] - min(job.created_at for job in done)), 1),
            steady=round(2 / seconds * sum(since + seconds / 2 < end <= since + seconds for end in ends), 1),
            count=count,
            wait_p50=_percentile(waits, 0.5),
            wait_p99=_percentile(waits, 0.99),
            total_p50=_percentile(totals, 0.5),
            total_p99=_percentile(totals, 0.99),
            lost=count - len(done),
            cores=cores,
            idle_cores=idle_cores,
            load=round(os.getloadavg()[0], 1),
        )


def _cpu_of(process_id: int, *, own: bool) -> float:
    root = psutil.Process(process_id)
    each = [root] if own else [root, *root.children(recursive=True)]
    found = 0.0
    for process in each:
        try:
            found += sum(process.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return found


def _percentile(ordered: list[float], share: float) -> float:
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)], 1)


@contextmanager
def running_fleet(directory: Path, storage: str, load: Load) -> Iterator[Fleet]:
    """Yield a fleet without workers; `storage`: `s3` or `files`."""
    with ExitStack() as stack:
        postgres = PostgresServer(directory / "pg", max_connections="1500", shared_buffers="512MB").start()
        stack.callback(postgres.stop)
        redis = RedisServer(directory / "redis").start()
        stack.callback(redis.stop)
        settings = {"IMAGEFARM_MAX_QUEUED_PER_OWNER": "0", "IMAGEFARM_LOG_LEVEL": "WARNING"}
        servers = {"Postgres": postgres.pid, "Redis": redis.pid}
        if storage == "s3":
            port, server = _start_s3(directory)
            stack.callback(server.wait)
            stack.callback(server.kill)
            servers["S3"] = server.pid
            settings["IMAGEFARM_STORAGE_URL"] = f"s3://key:secret@{BUCKET}/farm?endpoint=http://127.0.0.1:{port}"
        url = postgres.create_database()
        upgrade(url)
        farm = FarmParts(directory / "farm", url, redis, workers=0, settings=settings)
        stack.callback(farm.destroy)
        farm.start()
        _wait_healthy(farm.url)
        database = Database(url, pool_size=2)
        stack.callback(database.dispose)
        yield Fleet(farm, database, servers, load)


def _start_s3(directory: Path) -> tuple[int, subprocess.Popen[bytes]]:
    port = free_port()
    command = [sys.executable, "-m", "tests.servers.network.s3_program", "127.0.0.1", str(port), str(directory / "full")]
    with (directory / "s3.log").open("ab") as log:
        server = subprocess.Popen(command, env=clean_environment(), stdout=log, stderr=log)
    wait_listening(port, server)
    return port, server


def _wait_healthy(url: str) -> None:
    while True:
        try:
            if httpx.get(f"{url}/healthz", timeout=5).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.1)


def row(found: Figures) -> str:
    """Return a line of the table."""
    cores = ", ".join(f"{name} {share:.2f} ({found.idle_cores[name]:.2f})" for name, share in found.cores.items())
    return (
        f"{found.workers:4d} workers: {found.jobs:6.1f} jobs/s of {found.wanted:g} (submitted {found.submitted:g}/s, "
        f"{found.steady:g} jobs/s in the later half); "
        f"wait p50 {found.wait_p50:g} ms, p99 {found.wait_p99:g} ms; "
        f"to the end p50 {found.total_p50:g}, p99 {found.total_p99:g} ms; "
        f"lost {found.lost} of {found.count}\n     cores (without jobs): {cores}; "
        f"control parts {found.control_ms:.1f} ms a job; load average {found.load:g}"
    )


def draw_chart(results: list[Figures], images_per_second: float) -> bytes:
    """Return a PNG: jobs/s and waits by the number of workers."""
    sizes = [float(each.workers) for each in results]
    return draw_lines(
        f"A fleet of simulated workers at {images_per_second:g} images/s each",
        "workers",
        [
            (
                "jobs/s, end to end",
                [Line("offered", sizes, [x.wanted for x in results]), Line("done", sizes, [x.jobs for x in results])],
            ),
            (
                "wait from submit to claim, ms",
                [Line("p50", sizes, [x.wait_p50 for x in results]), Line("p99", sizes, [x.wait_p99 for x in results])],
            ),
        ],
    )


def main() -> int:
    """Print a row for each size; exit with 1 when a job was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="*", default=[10, 30, 100, 300])
    parser.add_argument("--seconds", type=float, default=20.0, help="time of submits for each size")
    parser.add_argument("--warm-up", type=float, default=10.0, help="time of submits before it, which do not count")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--images-per-second", type=float, default=3.0, help="by each worker")
    parser.add_argument("--control-cores", type=float, help="hold the control parts together to this many cores (as root)")
    parser.add_argument("--storage", choices=("s3", "files"), default="s3")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path)
    given = parser.parse_args()
    load, results = Load(given.images_per_second, given.connections, given.control_cores), []
    held = f", control parts held to {given.control_cores:g} cores" if given.control_cores else ""
    print(f"{os.cpu_count()} cores, storage: {given.storage}{held}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="imagefarm-fleet-") as directory,
        running_fleet(Path(directory), given.storage, load) as fleet,
    ):
        for workers in given.workers:
            results.append(fleet.measure(workers, given.seconds, given.warm_up))
            print(row(results[-1]), flush=True)
    if given.json:
        given.json.write_text(json.dumps([asdict(each) for each in results], indent=2), encoding="utf-8")
    if given.chart:
        given.chart.write_bytes(draw_chart(results, given.images_per_second))
    return 1 if any(each.lost for each in results) else 0


if __name__ == "__main__":
    sys.exit(main())
