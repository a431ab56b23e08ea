"""Connections to the farm's Redis: to one server, or to the master that its Sentinels name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis.exceptions import RedisError

from core.redis_sentinel import ASKING, SentinelUrl, is_sentinel_url, parse_sentinel_url


def connect(url: str, **options: Any) -> redis.Redis:  # noqa: ANN401 -- redis-py's own options
    """Return a client, which connects at its first command. `options`: those of `redis.Redis`, such as `socket_timeout`."""
    if not is_sentinel_url(url):
        return redis.Redis.from_url(url, **options)
    found = parse_sentinel_url(url)
    sentinel = redis.sentinel.Sentinel(found.sentinels, sentinel_kwargs=dict(ASKING))  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinel.master_for(found.master, **_of_master(found), **options)  # type: ignore[no-untyped-call]
    return client


def connect_async(url: str, **options: Any) -> redis.asyncio.Redis:  # noqa: ANN401 -- redis-py's own options
    """Return an asynchronous client, like `connect`."""
    if not is_sentinel_url(url):
        return redis.asyncio.Redis.from_url(url, **options)
    found = parse_sentinel_url(url)
    sentinel = redis.asyncio.sentinel.Sentinel(found.sentinels, sentinel_kwargs=dict(ASKING))  # type: ignore[no-untyped-call]
    client: redis.asyncio.Redis = sentinel.master_for(found.master, **_of_master(found), **options)
    return client


Command = tuple[str | bytes, ...]


class CommandSender:
    """Sends commands on a connection of its own, and reads their answers apart. Not thread-safe.

    It costs half as much as a pipeline of redis-py, which takes a connection from its pool for each.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._connection: Any = client.connection_pool.make_connection()  # without types in redis-py
        self._connected = False  # Connections of redis-py before 8 do not tell.
        self._unread = 0

    @property
    def is_connected(self) -> bool:
        """Whether commands can be sent without connecting first: the server has not ended the connection."""
        try:
            return self._connected and not self._connection.can_read()
        except (RedisError, OSError):
            return False

    def connect(self) -> None:
        """Connect where that is needed before commands can be sent. Raises RedisError or OSError."""
        if not self.is_connected:
            self.close()
            self._connection.connect()
            self._connected = True

    def send(self, commands: Sequence[Command]) -> None:
        """Send the commands, after `connect`. Raises RedisError or OSError."""
        with self._closed_on_error():
            self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)
        self._unread = len(commands)

    def read_answers(self) -> None:
        """Read the answers to what was sent last. Raises RedisError, where the server refused one of them as well."""
        with self._closed_on_error():  # The next answers would be taken for those of other commands.
            for _ in range(self._unread):
                self._connection.read_response()

    def run(self, commands: Sequence[Command]) -> None:
        """Send the commands and wait for their answers; connect first where that is needed. Raises like the others."""
        self.connect()
        self.send(commands)
        self.read_answers()

    def close(self) -> None:
        """Close the connection."""
        self._connected = False
        self._connection.disconnect()

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise


def _of_master(url: SentinelUrl) -> dict[str, Any]:
    return {"db": url.database, "username": url.username or None, "password": url.password or None}
