"""Run the peer's API and worker as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.peer.store import PictureStore
from tests.servers.farm import ROOT
from tests.servers.ports import free_port, wait_listening

STOP_SECONDS = 20.0


class Peer:
    """The peer over a database and a Redis URL; `threads` is its worker's concurrency."""

    def __init__(self, directory: Path, database_url: str, redis_url: str, threads: int) -> None:
        directory.mkdir(parents=True)
        pictures = directory / "pictures"
        pictures.mkdir()
        self._directory, self._threads = directory, threads
        self._database = database_url.replace("+psycopg", "").removeprefix("sqlite:///")
        self._environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "PEER_DATABASE": self._database,
            "PEER_REDIS": redis_url,
            "PEER_PICTURES": str(pictures),
        }
        self.port = free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start both processes and return once the API accepts connections."""
        PictureStore(self._database).create()
        module = "benchmarks.peer.application"
        self._spawn("api", "uvicorn", f"{module}:app", "--port", str(self.port), "--log-level", "warning")
        worker = ("-A", f"{module}:celery", "worker", "--pool", "threads", "--concurrency", str(self._threads))
        self._spawn("worker", "celery", *worker, "--without-gossip", "--without-mingle", "--loglevel", "WARNING")
        wait_listening(self.port, self.processes["api"])

    def _spawn(self, name: str, module: str, *arguments: str) -> None:
        with (self._directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=self._environment,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        """Stop both processes."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
