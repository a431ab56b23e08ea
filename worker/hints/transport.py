"""Kombu's Redis transports, except that they ask before they wait for a message, and drop messages that cannot be read.

Kombu raises for such a message, and Celery ends the worker on every exception that is not a lost connection.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from queue import Empty
from typing import Any

from kombu.asynchronous.hub import Hub
from kombu.transport import TRANSPORT_ALIASES, redis

from worker.hints.hint import shown

logger = logging.getLogger(__name__)


ASK_AGAIN_SECONDS = 0.1


def install_transports() -> None:
    """Make kombu use these classes for Redis URLs in this process. Call it before the first connection."""
    TRANSPORT_ALIASES["redis"] = TRANSPORT_ALIASES["rediss"] = f"{__name__}:Transport"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:SentinelTransport"


class _HintChannel:
    """Mixin for channels: reading a reply raises only for errors of the connection or of the server."""

    _wanted: Callable[[], bool] | None = None
    _hub: Hub
    _ask_at = float("-inf")

    def ask_before_waiting(self, wanted: Callable[[], bool], hub: Hub) -> None:
        """Wait for messages only while `wanted` returns true, which must not block the event loop.

        Kombu's prefetch limit would not do: a message that comes while it is reached stays unread with this worker.
        """
        self._wanted, self._hub = wanted, hub

    def _brpop_start(self, timeout: float | None = None) -> None:
        if self._wanted is None or self._wanted():
            super()._brpop_start(timeout)  # type: ignore[misc]
        elif (now := time.monotonic()) >= self._ask_at:
            # Kombu calls this in each round of the loop, of which there may be none for a second.
            self._ask_at = now + ASK_AGAIN_SECONDS
            self._hub.call_later(ASK_AGAIN_SECONDS, _start_a_round)  # type: ignore[no-untyped-call]

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


def _start_a_round() -> None:
    pass


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


class Channel(_HintChannel, redis.Channel):
    """A channel of `Transport`."""


class SentinelChannel(_HintChannel, redis.SentinelChannel):
    """A channel of `SentinelTransport`."""


class Transport(_DroppingTransport, redis.Transport):
    """For `redis://` and `rediss://` URLs."""

    Channel = Channel


class SentinelTransport(_DroppingTransport, redis.SentinelTransport):
    """For `sentinel://` URLs."""

    Channel = SentinelChannel
