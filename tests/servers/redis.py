"""A real Redis-protocol server for tests, which can be killed and restarted with or without its data."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

from supervisor.embedded_redis import find_redis_binary, redis_command
from tests.servers.ports import free_port, wait_listening


class RedisServer:
    """An append-only server under `directory`; `url` is the same after a restart."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> RedisServer:
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "redis.log").open("ab") as log:
            command = redis_command(find_redis_binary(), self.directory, self.port)
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_listening(self.port, self._process)
        return self

    @property
    def pid(self) -> int:
        """The id of the running server's process."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """Stop the server with SIGTERM and wait for its end."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server if it is running."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self, *, lose_data: bool = False) -> None:
        """Kill the server with SIGKILL; with `lose_data`, also delete its files."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None
        if lose_data:
            shutil.rmtree(self.directory)
