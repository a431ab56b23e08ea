"""A farm on several hosts: one with API, reaper, Redis, Postgres and S3, and worker hosts that joined it by one line."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from db.database import Database
from db.migrate import upgrade
from supervisor.embedded_redis import find_redis_binary, redis_command
from tests.servers.farm import clean_environment
from tests.servers.network.hosts import Host, Network, Program
from tests.servers.postgres import PostgresServer
from tests.servers.s3 import BUCKET

API_PORT, REDIS_PORT, POSTGRES_PORT, S3_PORT = 7860, 6379, 5432, 9000
PASSWORD = "between-hosts"
USERS = f"user default off\nuser farm on >{PASSWORD} ~farm:* ~_kombu* &* +@all -@dangerous +info\n"
"""The access rules of docs/guides/many-boxes.md."""
START_SECONDS = 300.0
POLL_SECONDS = 0.2
_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For plain HTTP: else each poll loads certificates."""
STOP_SECONDS = 120.0
"""Drains end within 30 s by default; busy cores make everything slower."""


@dataclass
class HostedFarm:
    """`settings` are those of every host. `disk`: where Redis and Postgres keep their files; their own folder by default.

    `forked`: `imagefarm` is no new interpreter but a forked process.
    """

    network: Network
    worker_hosts: int = 3
    settings: dict[str, str] = field(default_factory=dict)
    disk: Path | None = None
    forked: bool = False
    programs: dict[str, Program] = field(default_factory=dict)
    replaced: dict[str, tuple[float, float]] = field(default_factory=dict)
    """When the worker of a host was last stopped and its successor was ready, in seconds since 1970."""

    def __post_init__(self) -> None:
        self.control = self.network.add("control")
        self.workers = [self.network.add(f"gpu{number + 1}") for number in range(self.worker_hosts)]
        self.disk = self.disk or self.control.directory
        self._postgres = PostgresServer(self.disk)
        self.full_storage = self.control.directory / "storage-is-full"
        address = self.control.address
        self.database_url = f"postgresql+psycopg://farm:{PASSWORD}@{address}:{POSTGRES_PORT}/imagefarm"
        self.redis_url = f"redis://farm:{PASSWORD}@{address}:{REDIS_PORT}/0"
        self.storage_url = f"s3://key:secret@{BUCKET}/farm?endpoint=http://{address}:{S3_PORT}&region=us-east-1"
        self.url = f"http://{address}:{API_PORT}"
        self._numbers = itertools.count(1)

    def start(self) -> HostedFarm:
        """Start the control host's servers, API and reaper, let every worker host join, and wait until all are ready."""
        self.start_servers()
        upgrade(self.database_url)
        self.start_program("api")
        self.start_program("reaper")
        self.wait_until(lambda: self.get("/healthz") is not None, "the API answers")
        for host in self.workers:
            self.join(host)
        self.wait_workers_ready(len(self.workers))
        return self

    def start_servers(self) -> None:
        """Start Postgres, Redis and S3 on the control host."""
        access = self._postgres.data / "pg_hba.conf"
        access.write_text(
            "host all postgres samenet trust\nhost all postgres 127.0.0.1/32 trust\nhost all farm samenet scram-sha-256\n"
        )
        self.start_postgres()
        with psycopg.connect(f"host={self.control.address} user=postgres dbname=postgres", autocommit=True) as admin:
            admin.execute(f"CREATE ROLE farm LOGIN PASSWORD '{PASSWORD}'".encode())
            admin.execute("CREATE DATABASE imagefarm OWNER farm ENCODING UTF8 TEMPLATE template0")
        self.start_redis()
        self.start_s3()

    def start_postgres(self) -> None:
        """Start Postgres, also after it was killed."""
        command = self._postgres.command("0.0.0.0", POSTGRES_PORT)
        self.programs["postgres"] = self.control.start(*command, log="postgres.log", user=self._postgres.user)
        self._wait_listening("postgres", POSTGRES_PORT)
        self.wait_until(self._postgres_accepts, "Postgres accepts connections")

    def start_redis(self) -> None:
        """Start Redis, also after it was killed."""
        assert self.disk is not None
        folder, users = self.disk / "redis", self.control.directory / "users.acl"
        folder.mkdir(exist_ok=True)
        users.write_text(USERS)
        command = redis_command(find_redis_binary(), folder, REDIS_PORT)
        self.programs["redis"] = self.control.start(*command, "--bind", "0.0.0.0", "--aclfile", str(users), log="redis.log")
        self._wait_listening("redis", REDIS_PORT)

    def start_s3(self) -> None:
        """Start the S3 server, also after it was killed: its objects are in a folder, too."""
        words = ("0.0.0.0", str(S3_PORT), str(self.full_storage), str(self.control.directory / "bucket"))
        self.programs["s3"] = self.control.start(
            *self.control.python("tests.servers.network.s3_program", *words), environment=clean_environment(), log="s3.log"
        )
        self._wait_listening("s3", S3_PORT)

    def restart_control(self) -> None:
        """Boot the control host after its power was cut, and start its servers and parts as at any boot."""
        self.control.boot()
        self.start_postgres()
        self.start_redis()
        self.start_s3()
        self.start_program("api")
        self.start_program("reaper")
        self.wait_until(lambda: self.get("/healthz") is not None, "the API answers")

    def kill_server(self, name: str, *, lose_data: bool = False) -> None:
        """Kill Postgres or Redis with SIGKILL; `lose_data`: with the files of Redis."""
        assert self.disk is not None
        program = self.programs[name]
        program.send(signal.SIGQUIT if name == "postgres" else signal.SIGKILL)
        program.wait(120)
        if lose_data:
            shutil.rmtree(self.disk / "redis")

    def start_program(self, name: str) -> None:
        """Start `imagefarm` with this word, such as `api`, on the control host."""
        self.programs[name] = self._run(self.control, name, environment=self.control_environment(), log=f"{name}.log")

    def _run(self, host: Host, *words: str, environment: dict[str, str], log: str) -> Program:
        """Start `imagefarm` with these words on a host."""
        if self.forked:
            return host.fork(*words, environment=environment, log=log)
        return host.start(*host.farm_command(*words), environment=environment, log=log)

    def replace_programs(self, *names: str) -> None:
        """Stop and start these parts of the control host, one after the other, and wait for the API."""
        for name in names:
            self._stop(self.control, name)
            self.start_program(name)
            self.wait_until(lambda: self.get("/healthz") is not None, "the API answers")

    def replace_worker(self, host: Host) -> None:
        """Let the worker of a host end by itself, start its successor, and wait until that is ready."""
        worker, words = f"{host.name}-cpu", self._join_words(host)
        before, stopping_at = self.worker_row(worker).get("started_at"), time.time()
        self._stop(host, host.name)
        self._start_joined(host, words)

        def succeeded() -> bool:
            row = self.worker_row(worker)
            return row.get("state") == "ready" and row["started_at"] != before

        self.wait_until(succeeded, f"a new worker {worker} is ready")
        self.replaced[worker] = (stopping_at, time.time())

    def _stop(self, host: Host, program: str) -> None:
        try:
            self.programs[program].stop(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{program} did not stop in {STOP_SECONDS:g} s:\n{host.logs()}") from None

    def control_environment(self) -> dict[str, str]:
        """Return the settings of the control host."""
        given = {
            "IMAGEFARM_DATA_DIR": str(self.control.directory / "data"),
            "IMAGEFARM_HOST": "0.0.0.0",
            "IMAGEFARM_PORT": str(API_PORT),
            "IMAGEFARM_JOIN_URL": self.url,
            "IMAGEFARM_DATABASE_URL": self.database_url,
            "IMAGEFARM_REDIS_URL": self.redis_url,
            "IMAGEFARM_STORAGE_URL": self.storage_url,
            "IMAGEFARM_OPEN_ACCESS": "true",
            "IMAGEFARM_MODEL": "demo",
            "IMAGEFARM_MODEL_MANAGER": "false",
        }
        return clean_environment(**given, **self.settings)

    def worker_environment(self, host: Host) -> dict[str, str]:
        """Return the settings of a worker host: none of the addresses, which it gets when it joins."""
        given = {
            "IMAGEFARM_DATA_DIR": str(host.directory / "data"),
            "IMAGEFARM_MODEL": "demo",
            "IMAGEFARM_RENDERER": "synthetic",
        }
        return clean_environment(**given, **self.settings)

    def join_line(self) -> str:
        """Return the line that `imagefarm join-command --installed` prints on the control host."""
        log = f"join-command-{next(self._numbers)}.log"
        words = ("join-command", "--installed")
        program = self._run(self.control, *words, environment=self.control_environment(), log=log)
        status, output = program.wait(START_SECONDS), program.log.read_text()
        found = re.search(r"^imagefarm join .*$", output, re.MULTILINE)
        if status != 0 or found is None:
            raise RuntimeError(f"imagefarm join-command ended with status {status}: {output}")
        return found[0]

    def join(self, host: Host) -> None:
        """Let a host join by the line of `imagefarm join-command --installed`, or continue when it has joined before."""
        self._start_joined(host, self._join_words(host))

    def _join_words(self, host: Host) -> list[str]:
        joined = (host.directory / "data" / "join.json").exists()
        return ["join"] if joined else shlex.split(self.join_line())[1:]

    def _start_joined(self, host: Host, words: list[str]) -> None:
        self.programs[host.name] = self._run(host, *words, environment=self.worker_environment(host), log="join.log")

    def restart_host(self, host: Host) -> None:
        """Boot a worker host that was killed, and run `imagefarm join` on it."""
        host.boot()
        self.join(host)

    def get(self, path: str) -> Any:  # noqa: ANN401 -- JSON
        """Return the JSON of a response; None when the API does not answer or refuses."""
        try:
            answer = httpx.get(f"{self.url}{path}", timeout=10, verify=_NO_CERTIFICATES)
        except httpx.HTTPError:
            return None
        return answer.json() if answer.is_success and path != "/healthz" else answer.text if answer.is_success else None

    def worker_rows(self) -> list[dict[str, Any]]:
        """Return what the API says about each worker; nothing while it does not answer."""
        rows = self.get("/v1/workers")
        return rows["items"] if rows else []

    def worker_row(self, name: str) -> dict[str, Any]:
        """Return what the API says about a worker; nothing when it knows none of that name."""
        return next((row for row in self.worker_rows() if row["name"] == name), {})

    def worker_states(self) -> dict[str, str]:
        """Return the state of each worker by name."""
        return {row["name"]: row["state"] for row in self.worker_rows()}

    def wait_workers_ready(self, count: int) -> None:
        """Wait until so many workers are ready."""
        self.wait_until(
            lambda: sum(state == "ready" for state in self.worker_states().values()) >= count, f"{count} workers are ready"
        )

    def wait_until(self, reached: Callable[[], object], what: str, seconds: float = START_SECONDS) -> float:
        """Wait until `reached` returns something true; return the seconds. Raises TimeoutError with the logs."""
        started = time.monotonic()
        while not reached():
            if time.monotonic() > started + seconds:
                logs = "\n".join(host.logs() for host in self.network.hosts.values())
                raise TimeoutError(f"waited {seconds:g} s for: {what}; workers: {self.worker_states()}\n{logs}")
            time.sleep(POLL_SECONDS)
        return time.monotonic() - started

    def database(self) -> Database:
        """Open the farm's database from outside; dispose of it at the end."""
        return Database(self.database_url, pool_size=2)

    def _postgres_accepts(self) -> bool:
        try:
            psycopg.connect(f"host={self.control.address} user=postgres dbname=postgres", connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _wait_listening(self, name: str, port: int) -> None:
        self.wait_until(lambda: self._listens(name, port), f"{name} listens on port {port}")

    def _listens(self, name: str, port: int) -> bool:
        if (status := self.programs[name].poll()) is not None:
            raise RuntimeError(f"{name} ended with status {status}: {self.control.logs()}")
        try:
            socket.create_connection((self.control.address, port), timeout=1).close()
        except OSError:
            return False
        return True
