"""Attack a running API with large heads and idle connections, and measure /healthz meanwhile.

    python -m benchmarks.http_attacks
    python -m benchmarks.http_attacks --connections 1100 --head-megabytes 181

The API runs in a process of its own over an empty SQLite database and a real Redis; attacker and probe share the machine
with it. Exit status 1 when a probe failed or the 99th percentile reached `--limit-ms`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import psutil

from db.migrate import upgrade
from tests.servers.farm import clean_environment
from tests.servers.ports import free_port, wait_listening
from tests.servers.redis import RedisServer

PROBE = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
PROBE_SECONDS = 0.01
TIMEOUT_SECONDS = 60.0
HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@dataclass(frozen=True)
class Plan:
    """How hard the attacks are. `descriptors` is the soft limit of open files that the server starts with."""

    head_bytes: int = 181 * 2**20
    connections: int = 1100
    descriptors: int = 1024
    seconds: float = 10.0


@dataclass(frozen=True)
class Attack:
    """What the attacker's process runs, and the size of it."""

    function: Callable[[int, int, Event, Queue[Any]], None]
    size: int


@dataclass
class Probes:
    """Milliseconds of each probe that was answered, and how many were not."""

    milliseconds: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def p99(self) -> float:
        """The 99th percentile."""
        ordered = sorted(self.milliseconds)
        return ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)] if ordered else float("inf")

    def shown(self) -> str:
        """In one line."""
        if not self.milliseconds:
            return f"no probe was answered, {self.failed} failed"
        return (
            f"{len(self.milliseconds)} probes, {self.failed} failed, p50 {statistics.median(self.milliseconds):.1f} ms, "
            f"p99 {self.p99:.1f} ms, longest {max(self.milliseconds):.1f} ms"
        )


@contextmanager
def server(directory: Path, soft: int, *, raisable: bool) -> Iterator[tuple[int, psutil.Process]]:
    """Yield the port and the process of an API with a soft limit of open files, which it may raise or not."""
    directory.mkdir()
    database = f"sqlite:///{directory / 'farm.db'}"
    upgrade(database)
    redis = RedisServer(directory / "redis").start()
    port = free_port()
    environment = clean_environment(
        IMAGEFARM_DATABASE_URL=database,
        IMAGEFARM_REDIS_URL=redis.url,
        IMAGEFARM_DATA_DIR=str(directory / "data"),
        IMAGEFARM_LOG_LEVEL="WARNING",
    )
    limit = f"ulimit -Sn {soft}" if raisable else f"ulimit -n {soft}"
    with (directory / "api.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", f'{limit}; exec "$@"', "bash", sys.executable, "-m", "cli", "api", "--port", str(port)],
            env=environment,
            cwd=directory,
            stdout=log,
            stderr=log,
        )
    try:
        wait_listening(port, process)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(120)
        redis.stop()


def probe(port: int, probes: Probes) -> None:
    """Ask /healthz once, over a connection of its own."""
    start = time.perf_counter()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as connection:
            connection.sendall(PROBE)
            answer = b""
            while data := connection.recv(4096):
                answer += data
    except OSError:
        answer = b""
    if answer.startswith(b"HTTP/1.1 200"):
        probes.milliseconds.append((time.perf_counter() - start) * 1000)
    else:
        probes.failed += 1


def while_probing(port: int, attack: Attack | None, seconds: float) -> tuple[Probes, list[str]]:
    """Run the attack in a process of its own and probe for some seconds; (probes, how the attacker's requests ended)."""
    context = multiprocessing.get_context("spawn")
    stop, ends, probes = context.Event(), context.Queue(), Probes()
    attacker = context.Process(target=attack.function, args=(port, attack.size, stop, ends)) if attack else None
    if attacker is not None:
        attacker.start()
        ends.get(timeout=300)  # it has started
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        probe(port, probes)
        time.sleep(PROBE_SECONDS)
    stop.set()
    if attacker is None:
        return probes, []
    found: list[str] = ends.get(timeout=300)
    attacker.join(TIMEOUT_SECONDS)
    return probes, found


def large_heads(port: int, head_bytes: int, stop: Event, ends: Queue[Any]) -> None:
    """Send heads of `head_bytes` again and again, one at a time."""
    found: list[str] = []
    ends.put("started")
    while not stop.is_set():
        with suppress(OSError):
            found.append(_send_head(port, head_bytes, stop))
    ends.put(found)


def _send_head(port: int, head_bytes: int, stop: Event) -> str:
    block, sent = b"a" * 65536, 0
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as connection:
        connection.sendall(HEAD + b"X-Large: ")
        try:
            while sent < head_bytes and not stop.is_set():
                connection.sendall(block)
                sent += len(block)
                if select.select([connection], [], [], 0)[0]:
                    break
            else:
                connection.sendall(b"\r\n\r\n")
        except OSError:
            return "cut"
        return connection.recv(12)[9:].decode() or "closed"


def idle_connections(port: int, count: int, stop: Event, ends: Queue[Any]) -> None:
    """Keep `count` connections open without a request, half of them with the start of a head."""
    held: list[socket.socket] = []
    opened = 0
    announced = False
    while not stop.is_set():
        for _ in range(max(count - len(held), 0)):
            if stop.is_set():
                break
            with suppress(OSError):
                connection = socket.create_connection(("127.0.0.1", port), timeout=1)
                connection.setblocking(False)
                held.append(connection)
                opened += 1
                if opened % 2:
                    connection.send(HEAD)
        if not announced:
            ends.put("started")
            announced = True
        stop.wait(0.2)
        held = [connection for connection in held if _is_open(connection)]
    for connection in held:
        connection.close()
    ends.put(["opened"] * opened)


def _is_open(connection: socket.socket) -> bool:
    try:
        still_open = connection.recv(4096) != b""
    except BlockingIOError:
        return True
    except OSError:
        still_open = False
    if not still_open:
        connection.close()
    return still_open


def measure(plan: Plan, directory: Path) -> dict[str, Probes]:
    """Probe at rest and under each attack, printing a line for each."""
    idle = Attack(idle_connections, plan.connections)
    found: dict[str, Probes] = {}
    with server(directory / "raisable", plan.descriptors, raisable=True) as (port, process):
        for name, attack in {
            "at rest": None,
            "large heads": Attack(large_heads, plan.head_bytes),
            "idle connections": idle,
        }.items():
            found[name] = _attacked(name, port, process, attack, plan.seconds)
    with server(directory / "fixed", plan.descriptors, raisable=False) as (port, process):
        name = "idle connections, more than a hard limit"
        found[name] = _attacked(name, port, process, idle, plan.seconds)
    return found


def _attacked(name: str, port: int, process: psutil.Process, attack: Attack | None, seconds: float) -> Probes:
    before = process.cpu_times()
    probes, ends = while_probing(port, attack, seconds)
    after = process.cpu_times()
    spent = after.user + after.system - before.user - before.system
    counts = ", ".join(f"{ends.count(kind)} {kind}" for kind in sorted(set(ends)))
    print(f"  {name}: {probes.shown()}; {spent:.1f} s of CPU; attacker: {counts or 'none'}", flush=True)
    return probes


def main() -> int:
    """Print one line for each attack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--head-megabytes", type=int, default=181)
    parser.add_argument("--connections", type=int, default=1100)
    parser.add_argument("--descriptors", type=int, default=1024, help="soft limit of open files, also tried as a hard one")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each attack")
    parser.add_argument("--limit-ms", type=float, default=100.0)
    given = parser.parse_args()
    plan = Plan(given.head_megabytes * 2**20, given.connections, given.descriptors, given.seconds)
    print(f"{os.cpu_count()} cores, {plan.connections} idle connections, heads of {given.head_megabytes} MiB:")
    with tempfile.TemporaryDirectory(prefix="imagefarm-attacks-") as directory:
        found = measure(plan, Path(directory))
    attacked = [probes for name, probes in found.items() if name != "at rest"]
    bad = [probes for probes in attacked if probes.failed or probes.p99 >= given.limit_ms]
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
