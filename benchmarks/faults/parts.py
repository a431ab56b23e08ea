"""The farm's processes, each started separately so that each can be killed separately."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import httpx
import psutil

from tests.servers.farm import clean_environment
from tests.servers.ports import free_port
from tests.servers.redis import RedisServer


class Process(Protocol):
    """What a part needs of `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...


Launch = Callable[[list[str], dict[str, str], Path, BinaryIO], Process]
"""Start `imagefarm` with these arguments, environment, directory and log, which takes both outputs."""


def spawn(arguments: list[str], environment: dict[str, str], directory: Path, log: BinaryIO) -> Process:
    """Start it in a new interpreter."""
    return subprocess.Popen(
        [sys.executable, "-m", "cli", *arguments],
        cwd=directory,
        env=environment,
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
    )


@dataclass
class Part:
    """One process of the farm; the output of all its runs is appended to one file."""

    name: str
    arguments: list[str]
    environment: dict[str, str]
    directory: Path
    launch: Launch = spawn
    process: Process | None = None

    @property
    def log(self) -> Path:
        """The file with its output."""
        return self.directory / f"{self.name}.log"

    def start(self) -> None:
        """Start or restart the process."""
        with self.log.open("ab") as log:
            self.process = self.launch(self.arguments, self.environment, self.directory, log)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process if it is running."""
        if self.process is not None and self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def kill(self) -> None:
        """Kill the process with SIGKILL and reap it."""
        self.send(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def engines(self) -> list[psutil.Process]:
        """Return its child processes: a worker's engine."""
        if self.process is None or self.process.poll() is not None:
            return []
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def stop(self, seconds: float = 120.0) -> int:
        """Send SIGTERM and return the exit status; send SIGKILL if that takes too long."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        if self.process is None:
            return 0
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL


@dataclass
class FarmParts:
    """API, reaper, workers and upscaling workers over the caller's database and Redis.

    Workers have the synthetic renderer unless set otherwise.
    """

    directory: Path
    database_url: str
    redis: RedisServer
    workers: int = 1
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    parts: dict[str, Part] = field(default_factory=dict)
    upscalers: int = 0
    launch: Launch = spawn

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.add("api", ["api", "--port", str(self.port)])
        self.add("reaper", ["reaper"])
        for number in range(self.workers):
            self.add(f"worker{number}", ["worker"], IMAGEFARM_WORKER_NAME=f"worker{number}")
        for number in range(self.upscalers):
            name = f"upscaler{number}"
            self.add(name, ["worker"], IMAGEFARM_WORKER_NAME=name, IMAGEFARM_MODEL="upscale")

    def add(self, name: str, arguments: list[str], **extra: str) -> None:
        """Add a part before the start; `extra`: its own environment."""
        given = {
            "IMAGEFARM_DATA_DIR": str(self.directory / "data"),
            "IMAGEFARM_DATABASE_URL": self.database_url,
            "IMAGEFARM_REDIS_URL": self.redis.url,
            "IMAGEFARM_MODEL": "demo",
            "IMAGEFARM_RENDERER": "synthetic",
            "IMAGEFARM_DEVICE": "cpu",
        }
        environment = clean_environment(**{**given, **self.settings, **extra})
        self.parts[name] = Part(name, arguments, environment, self.directory, self.launch)

    @property
    def url(self) -> str:
        """The API's base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def images_dir(self) -> Path:
        """The folder of the image store."""
        return self.directory / "data" / "images"

    def link_storage(self) -> None:
        """Make the image folder a link, which `break_storage` can replace in one step; call it before the start."""
        (self.directory / "store").mkdir(parents=True)
        self.images_dir.parent.mkdir(parents=True, exist_ok=True)
        self.mend_storage()

    def break_storage(self) -> None:
        """Put a file in the place of the image folder: no process, of root neither, can store an image."""
        stand_in = self.directory / "stand-in"
        stand_in.write_text("a file where the folder should be")
        stand_in.replace(self.images_dir)

    def mend_storage(self) -> None:
        """Put the image folder back."""
        stand_in = self.directory / "stand-in"
        stand_in.symlink_to(self.directory / "store")
        stand_in.replace(self.images_dir)

    def double(self, name: str) -> Part:
        """Return a second process with the name and the environment of a worker; it is not one of the farm's parts."""
        part = self.parts[name]
        return Part(f"double-of-{name}", part.arguments, part.environment, part.directory, part.launch)

    def worker_parts(self) -> list[Part]:
        """Return the workers, by number, then those that upscale."""
        return [part for name, part in self.parts.items() if name.startswith(("worker", "upscaler"))]

    def start(self) -> FarmParts:
        """Start every part and wait until the API responds and all workers are ready."""
        for part in self.parts.values():
            part.start()
        self.wait_ready()
        return self

    def wait_ready(self, seconds: float = 200.0) -> None:
        """Wait until all workers are ready; raise TimeoutError with the ends of the logs."""
        deadline = time.monotonic() + seconds
        with httpx.Client(base_url=self.url, timeout=5) as client:  # one for all polls: each loads certificates
            while time.monotonic() < deadline:
                if _ready_workers(client) >= self.workers + self.upscalers:
                    return
                time.sleep(0.1)
        raise TimeoutError("the farm did not become ready:\n" + self.log_ends())

    def is_live(self, name: str) -> bool:
        """Return whether this worker's process runs and holds its name's lock."""
        process = self.parts[name].process
        if process is None or process.poll() is not None:
            return False
        lock = self.directory / "data" / "workers" / f"{name}.lock"
        try:
            return bool(json.loads(lock.read_text())["pid"] == process.pid)
        except (OSError, ValueError, KeyError):
            return False

    def log_ends(self, characters: int = 1500) -> str:
        """Return the end of every part's log."""
        texts = {name: part.log.read_text()[-characters:] for name, part in self.parts.items() if part.log.exists()}
        return "\n".join(f"--- {name}\n{text}" for name, text in texts.items())

    def stop(self) -> None:
        """Stop every part; kill those that do not stop in time."""
        for part in self.parts.values():
            part.send(signal.SIGCONT)
        for part in (*self.worker_parts(), self.parts["reaper"], self.parts["api"]):
            part.stop()

    def destroy(self) -> None:
        """Kill every process that is still running."""
        for part in self.parts.values():
            for engine in part.engines():
                with suppress(psutil.NoSuchProcess):
                    engine.kill()
            part.kill()


def _ready_workers(client: httpx.Client) -> int:
    try:
        answer = client.get("/v1/workers")
        rows = answer.json()["items"] if answer.status_code == httpx.codes.OK else []
    except (httpx.HTTPError, ValueError, KeyError):
        return 0
    return sum(row["state"] == "ready" for row in rows)


def alive(process_id: int) -> bool:
    """Return whether a process of that id is running."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True
