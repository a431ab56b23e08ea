"""Source of a hub's events: Redis, or one database query for all watched jobs while Redis does not answer."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from contextlib import suppress
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from api.threads import in_thread
from api.watch.hub import Hub
from core.errors import FarmError
from core.json_text import parse_json
from core.queue import RedisKeys
from core.settings import Settings
from db.database import Database
from db.jobs.read import revisions_of
from db.redis_client import connect_async

logger = logging.getLogger(__name__)

POLL_SECONDS_WITHOUT_REDIS = 0.3
POLL_SECONDS = 5.0
"""Interval while Redis answers: a message may be lost."""
_RETRY_SECONDS = 1.0
_TIMEOUT_SECONDS = 2.0
_PING_SECONDS = 5.0
"""Between two PINGs to a connection whose other end may be gone; the answer to each must come within this time."""
_PROBE_KEPT_SECONDS = 10
_CLOCKS_DIFFER_SECONDS = 5.0
"""At most, between this machine and the database: beyond it, a poll may miss a progress until the next one is received."""


class Watcher:
    """Feeds one process's hub with two tasks on the event loop, for any number of waiters."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.hub = Hub()
        self.listening = False
        self._listening_since = 0.0
        self._messages = 0
        self._deaf = asyncio.Event()
        """Set when Redis stops answering, so that the poll of the database starts at once."""
        self._database = database
        self._keys = RedisKeys(settings.redis_prefix)
        # Messages of protocol 3 take redis-py longer.
        self._redis = connect_async(settings.redis_url, socket_connect_timeout=_TIMEOUT_SECONDS, protocol=2)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the tasks; call once, on the event loop."""
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._poll())]

    async def stop(self) -> None:
        """Stop both tasks and close the connection."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        await self._redis.aclose()

    async def progress_of(self, job_id: str, started_at: float | None = None) -> dict[str, Any] | None:
        """Return the latest progress of a running job, received or stored in Redis; None when there is none.

        `started_at`: of the job, in seconds since 1970. Redis is not asked about what this process would have received.
        """
        if (received := self.hub.progress_of(job_id)) is not None or not self.listening:
            return received
        if started_at is not None and started_at > self._listening_since + _CLOCKS_DIFFER_SECONDS:
            return None
        stored = await self._get(self._keys.progress(job_id))
        return _json_object(stored) if stored else None

    async def preview_of(self, job_id: str, index: int) -> bytes | None:
        """Return the latest preview of an image that is being rendered, if any."""
        return await self._get(self._keys.preview(job_id, index)) if self.listening else None

    async def probe_write(self) -> str | None:
        """Write a key that expires; return what is wrong, None when Redis took it within a second."""
        try:
            async with asyncio.timeout(1.0):
                await self._redis.set(self._keys.probe, "1", ex=_PROBE_KEPT_SECONDS)
        except ResponseError as error:
            return f"Redis does not take writes ({error})."
        except (TimeoutError, RedisError, OSError):
            return "Redis does not answer."
        return None

    async def _get(self, key: str) -> bytes | None:
        try:
            async with asyncio.timeout(0.5):
                value = await self._redis.get(key)
                return value if isinstance(value, bytes) else None
        except (TimeoutError, RedisError, OSError):
            return None

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except (RedisError, OSError, TimeoutError) as error:
                if self.listening:
                    logger.warning("Redis does not answer (%s); polling the database instead", error)
            self.listening = False
            self._deaf.set()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _listen_once(self) -> None:
        """Read messages until the connection fails, without redis-py's PubSub, which takes twice as long for each."""
        pool = self._redis.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                for command, channel in (("SUBSCRIBE", self._keys.changes), ("PSUBSCRIBE", self._keys.progress("*"))):
                    await connection.send_command(command, channel)
                    await _next_message(connection)
            self.listening, self._listening_since = True, time.time()
            self._deaf.clear()
            await self._catch_up()
            await self._read_while_alive(connection)
        finally:
            await connection.disconnect()
            await pool.release(connection)

    async def _read_while_alive(self, connection: AbstractConnection) -> None:
        """Raise once the connection fails, or TimeoutError once it does not answer a PING."""
        reading = asyncio.ensure_future(self._read(connection))
        try:
            while not reading.done():
                before = self._messages
                await connection.send_command("PING", check_health=False)
                await asyncio.wait({reading}, timeout=_PING_SECONDS)
                if self._messages == before and not reading.done():
                    raise TimeoutError("no answer to a PING")
            await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)  # Its own error, too, where the PING failed first.

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            message = await _next_message(connection)
            self._messages += 1
            self._handle_message(message)

    def _handle_message(self, message: list[bytes]) -> None:
        """Take what Redis sends: its kind, for a message by pattern that pattern, the channel and the data."""
        if message[0] not in (b"message", b"pmessage"):
            return
        name, data = message[-2].decode(errors="replace"), _json(message[-1])
        if name == self._keys.changes:
            for change in data if isinstance(data, list) else [data]:
                with suppress(KeyError, TypeError, AttributeError):
                    may_have_webhook = change.get("webhook", True) is not False
                    self.hub.changed(change["job"], change["revision"], change["status"], may_have_webhook=may_have_webhook)
        elif isinstance(data, dict):
            self.hub.progressed(name.removeprefix(self._keys.progress("")), data)

    async def _poll(self) -> None:
        while True:
            if self.listening:
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._deaf.wait()
            else:
                await asyncio.sleep(POLL_SECONDS_WITHOUT_REDIS)
            await self._catch_up()

    async def _catch_up(self) -> None:
        watched = self.hub.watched
        if not watched:
            return
        try:
            found = await in_thread(revisions_of, self._database, watched)
        except FarmError as error:
            logger.warning("cannot poll for waiting callers: %s", error.message)
            return
        for job_id, revision, status in found:
            self.hub.changed(job_id, revision, status)
        for job_id in set(watched).difference(job_id for job_id, _, _ in found):
            self.hub.deleted(job_id)


async def _next_message(connection: AbstractConnection) -> Any:  # noqa: ANN401 -- what Redis sends
    """Wait for a message; of protocol 3, too, which the URL may ask for."""
    return await connection.read_response(timeout=math.inf, push_request=True)


def _json_object(text: bytes) -> dict[str, Any] | None:
    data = _json(text)
    return data if isinstance(data, dict) else None


def _json(text: bytes) -> Any:  # noqa: ANN401 -- what anybody with access to Redis may have written
    try:
        return parse_json(text)
    except (ValueError, RecursionError):
        return None
