"""A Redis server with a replica, and three Sentinels that make the replica the master when two of them miss the server."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from supervisor.embedded_redis import find_redis_binary
from tests.servers.ports import free_port, wait_listening
from tests.servers.redis import RedisServer

MASTER = "farm"
QUORUM = 2


class WatchedRedis:
    """`url` stays the same over a failover, and over the end of a Sentinel."""

    def __init__(self, directory: Path) -> None:
        self.first, self.second = RedisServer(directory / "first"), RedisServer(directory / "second")
        self.ports = [free_port() for _ in range(QUORUM + 1)]
        self.servers = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        self.url = f"redis+sentinel://{self.servers}/{MASTER}/0"
        self._directory = directory
        self._sentinels: dict[int, subprocess.Popen[bytes]] = {}

    def start(self) -> WatchedRedis:
        self.first.start()
        self.second.start()
        with redis.Redis(port=self.second.port) as replica:
            replica.replicaof("127.0.0.1", str(self.first.port))
        for port in self.ports:
            self._start_sentinel(port)
        for port in self.ports:
            self._wait(port, lambda facts: facts["num-slaves"] == 1 and facts["num-other-sentinels"] == QUORUM)
        return self

    def _start_sentinel(self, port: int) -> None:
        directory = self._directory / f"sentinel-{port}"
        directory.mkdir(parents=True)
        file = directory / "sentinel.conf"
        file.write_text(
            f"bind 127.0.0.1\nport {port}\ndir {directory}\n"
            f"sentinel monitor {MASTER} 127.0.0.1 {self.first.port} {QUORUM}\n"
            f"sentinel down-after-milliseconds {MASTER} 500\n"
            f"sentinel failover-timeout {MASTER} 2000\n"
        )
        with (directory / "sentinel.log").open("ab") as log:
            self._sentinels[port] = subprocess.Popen(
                [str(find_redis_binary()), str(file), "--sentinel"], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        wait_listening(port, self._sentinels[port])

    def kill_sentinel(self) -> None:
        """Kill the Sentinel that the URL names first: programs must ask the next one."""
        self._sentinels[self.ports[0]].kill()
        self._sentinels[self.ports[0]].wait(60)

    def fail_over(self) -> None:
        """Kill the master and return once the last Sentinel names the other server."""
        self.first.kill()
        self._wait(self.ports[-1], lambda facts: facts["port"] == self.second.port)

    def stop(self) -> None:
        for sentinel in self._sentinels.values():
            sentinel.kill()
            sentinel.wait(60)
        self.first.kill()
        self.second.kill()

    def _wait(self, port: int, reached: Callable[[dict[str, Any]], bool], seconds: float = 200.0) -> None:
        deadline = time.monotonic() + seconds
        with redis.Redis(port=port) as sentinel:
            while not reached(sentinel.sentinel_masters()[MASTER]):
                logs = (self._directory / f"sentinel-{port}" / "sentinel.log").read_text()
                assert time.monotonic() < deadline, logs[-3000:]
                time.sleep(0.05)
