"""Kombu's Redis transports for workers: no message ends them, busy workers wait for none, and idle ones rarely wake up.

Kombu raises for a message that cannot be read, and Celery ends the worker on every exception that is not a lost connection.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis

from worker.hints.hint import shown

logger = logging.getLogger(__name__)

WAIT_SECONDS = 5.0
"""Longest wait for a message in one call, where it can be ended early; elsewhere it is kombu's second."""
UPKEEP_SECONDS = 30.0
"""Between two looks at the bindings of queues that expire: kombu looks every second at what it renews after minutes."""


def install_transports() -> None:
    """Make kombu use these classes for Redis URLs in this process. Call it before the first connection."""
    TRANSPORT_ALIASES["redis"] = TRANSPORT_ALIASES["rediss"] = f"{__name__}:Transport"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:SentinelTransport"


class _DroppingChannel:
    """Mixin for channels: reading a reply raises only for errors of the connection or of the server."""

    def _brpop_read(self, **options: Any) -> object:  # noqa: ANN401 -- kombu's own signature
        return self._read(super()._brpop_read, **options)  # type: ignore[misc]

    def _receive_one(self, client: Any) -> object:  # noqa: ANN401 -- redis-py's client
        return self._read(super()._receive_one, client)  # type: ignore[misc]

    def _read(self, read: Any, *arguments: Any, **options: Any) -> object:  # noqa: ANN401 -- kombu's own signatures
        try:
            return read(*arguments, **options)
        except (*redis.Transport.connection_errors, *redis.Transport.channel_errors, Empty):
            raise
        except Exception as error:  # noqa: BLE001 -- the reply has been read: only the message is lost
            logger.warning("dropped a message that cannot be read: %s: %s", type(error).__name__, shown(str(error)))
            return True


class _WaitLimitChannel:
    """Mixin for channels: waits for messages only for as long as it is told to."""

    _seconds: Callable[[], float | None] = staticmethod(lambda: None)

    def ask_before_waiting(self, seconds: Callable[[], float | None]) -> None:
        """Wait for a message for `seconds()` at a time; 0: not at all now, None: for kombu's time. It must not block.

        Kombu asks in each round of its event loop: wake the loop when the answer is no longer 0. Kombu's prefetch limit
        would not do: a message that comes while it is reached stays unread with this worker.
        """
        self._seconds = seconds

    def _brpop_start(self, timeout: float | None = None) -> None:
        seconds = self._seconds()
        if seconds != 0:
            super()._brpop_start(seconds if timeout is None else timeout)  # type: ignore[misc]


class _LongPollChannel:
    """Mixin for channels: waits long for a message, and ends the wait when the queues change or the channel closes.

    The server must let the user run `CLIENT UNBLOCK`.
    """

    _can_end_waits: bool | None = None

    def _brpop_start(self, timeout: float | None = None) -> None:
        if self._can_end_waits is None:
            self._can_end_waits = self._unblocks(0)
        is_known = _client_id(self.client.connection) is not None  # type: ignore[attr-defined]
        wait = WAIT_SECONDS if self._can_end_waits and is_known else None
        super()._brpop_start(wait if timeout is None else timeout)  # type: ignore[misc]

    def _update_queue_cycle(self) -> None:
        super()._update_queue_cycle()  # type: ignore[misc]
        self._end_wait()

    def close(self) -> None:
        self._end_wait()
        super().close()  # type: ignore[misc]

    def _end_wait(self) -> None:
        """Let the server answer the pending call, if any, now."""
        if self._can_end_waits and (number := _client_id(self._in_poll)) is not None:  # type: ignore[attr-defined]
            self._unblocks(number)

    def _unblocks(self, number: int) -> bool:
        """Return whether the server takes the command for this client; it takes it also for a client that does not wait."""
        with suppress(*redis.Transport.connection_errors, *redis.Transport.channel_errors):
            self._create_client().execute_command("CLIENT UNBLOCK", number)  # type: ignore[attr-defined]
            return True
        return False


def _client_id(connection: Any) -> int | None:  # noqa: ANN401 -- redis-py's connection
    """Return the server's number for an open connection; None where the server did not tell it."""
    told = (getattr(connection, "is_connected", False) and connection.handshake_metadata) or {}
    return told.get(b"id") or told.get("id")


class _QuietTransport:
    """Mixin for transports: its timers in a worker's event loop are those that have something to do."""

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:  # noqa: ANN401 -- kombu's own
        super().register_with_event_loop(connection, loop)  # type: ignore[misc]
        cycle = self.cycle  # type: ignore[attr-defined]
        cycle._binding_expiry_tref.cancel()
        cycle._binding_expiry_tref = loop.call_repeatedly(UPKEEP_SECONDS, cycle.maybe_refresh_binding_expiry)
        cycle._restore_messages_tref.cancel()  # nothing is acknowledged, so nothing is restored


class _DroppingTransport:
    """Mixin for transports: a message without the properties that kombu needs is dropped before it is tracked."""

    def _deliver(self, message: object, queue: str) -> None:
        if (fault := _fault_of(message)) is not None:
            logger.warning("dropped a message on %s: %s; it was %s", queue, fault, shown(message))
            return
        super()._deliver(message, queue)  # type: ignore[misc]


def _fault_of(message: object) -> str | None:
    if not isinstance(message, Mapping):
        return "it is not a JSON object"
    properties = message.get("properties")
    if not isinstance(properties, Mapping):
        return "it has no properties"
    if not isinstance(properties.get("delivery_tag"), str):
        return "it has no delivery tag"
    delivery = properties.get("delivery_info")
    if not isinstance(delivery, Mapping) or not {"exchange", "routing_key"} <= delivery.keys():
        return "it does not say where it was sent"
    if not isinstance(message.get("headers") or {}, Mapping):
        return "its headers are not a JSON object"
    return None


class Channel(_DroppingChannel, _WaitLimitChannel, _LongPollChannel, redis.Channel):
    """A channel of `Transport`."""


class SentinelChannel(_DroppingChannel, _WaitLimitChannel, _LongPollChannel, redis.SentinelChannel):
    """A channel of `SentinelTransport`."""


class Transport(_DroppingTransport, _QuietTransport, redis.Transport):
    """For `redis://` and `rediss://` URLs."""

    Channel = Channel


class SentinelTransport(_DroppingTransport, _QuietTransport, redis.SentinelTransport):
    """For `sentinel://` URLs."""

    Channel = SentinelChannel
