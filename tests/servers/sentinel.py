"""A Redis server with a replica and a Sentinel that makes the replica the master when the server is gone."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import redis

from supervisor.embedded_redis import find_redis_binary
from tests.servers.ports import free_port, wait_listening
from tests.servers.redis import RedisServer

MASTER = "farm"


class WatchedRedis:
    """`url` stays the same over a failover."""

    def __init__(self, directory: Path) -> None:
        self.first, self.second = RedisServer(directory / "first"), RedisServer(directory / "second")
        self.port = free_port()
        self.url = f"redis+sentinel://127.0.0.1:{self.port}/{MASTER}/0"
        self._directory = directory / "sentinel"
        self._sentinel: subprocess.Popen[bytes] | None = None

    def start(self) -> WatchedRedis:
        self.first.start()
        self.second.start()
        with redis.Redis(port=self.second.port) as replica:
            replica.replicaof("127.0.0.1", str(self.first.port))
        self._directory.mkdir(parents=True)
        file = self._directory / "sentinel.conf"
        file.write_text(
            f"bind 127.0.0.1\nport {self.port}\ndir {self._directory}\n"
            f"sentinel monitor {MASTER} 127.0.0.1 {self.first.port} 1\n"
            f"sentinel down-after-milliseconds {MASTER} 500\n"
            f"sentinel failover-timeout {MASTER} 2000\n"
        )
        with (self._directory / "sentinel.log").open("ab") as log:
            self._sentinel = subprocess.Popen(
                [str(find_redis_binary()), str(file), "--sentinel"], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        wait_listening(self.port, self._sentinel)
        self._wait(lambda facts: facts["num-slaves"] == 1)
        return self

    def fail_over(self) -> None:
        """Kill the master and return once the Sentinel names the other server."""
        self.first.kill()
        self._wait(lambda facts: facts["port"] == self.second.port)

    def stop(self) -> None:
        if self._sentinel is not None:
            self._sentinel.terminate()
            self._sentinel.wait(10)
        self.first.kill()
        self.second.kill()

    def _wait(self, reached: object, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        with redis.Redis(port=self.port) as sentinel:
            while not reached(sentinel.sentinel_masters()[MASTER]):  # type: ignore[operator]
                assert time.monotonic() < deadline, (self._directory / "sentinel.log").read_text()[-3000:]
                time.sleep(0.05)
