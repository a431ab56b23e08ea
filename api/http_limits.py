"""Bound what a connection may cost before a request reaches the application: its head, its time, its descriptor."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from uvicorn.server import ServerState
from wsproto.events import Ping

from api.http_headers import SECURITY_HEADERS

logger = logging.getLogger(__name__)

_SLICE = 8192
"""Bytes given to the parser at a time: it cannot be stopped in the middle of what it was given."""
_FIELD_OVERHEAD = 4  # ": " and the line end
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 2**20
_OWN_DESCRIPTORS = 256
_MOST_CONNECTIONS = 16_384
_LOG_EVERY_SECONDS = 30.0


@dataclass(frozen=True)
class HttpLimits:
    """The bounds. `connections` is the number of connections that may be open at once; 0 derives it from the process."""

    head_bytes: int = 64 * 1024
    head_fields: int = 100
    head_seconds: float = 10.0
    connections: int = 0


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one, and return what holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # macOS calls its hard limit infinite and then refuses it
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 2**31


def connection_bound(descriptors: int) -> int:
    """How many connections leave enough descriptors for the database, Redis and files."""
    return min(_MOST_CONNECTIONS, max(descriptors - _OWN_DESCRIPTORS, descriptors // 2))


class RateLimitedLog:
    """Writes a warning at most once in a while, with the number of times since the last one."""

    def __init__(self) -> None:
        self._count = 0
        self._next_at = float("-inf")

    def warn(self, message: str, *arguments: object) -> None:
        """`message` gets the count as its last argument."""
        self._count += 1
        if time.monotonic() < self._next_at:
            return
        logger.warning(message, *arguments, self._count)
        self._count, self._next_at = 0, time.monotonic() + _LOG_EVERY_SECONDS


@dataclass
class Connections:
    """The open connections of one server; `idle` are those without a request in progress, longest idle first."""

    limits: HttpLimits
    bound: int
    open: int = 0
    idle: OrderedDict[LimitedProtocol, None] = field(default_factory=OrderedDict)
    crowded: RateLimitedLog = field(default_factory=RateLimitedLog)
    refused: RateLimitedLog = field(default_factory=RateLimitedLog)
    exhausted: RateLimitedLog = field(default_factory=RateLimitedLog)
    _dated: int = 0

    def renew_date(self, config: Config, state: ServerState) -> None:
        """Renew the Date header of the answers to requests that arrive in this second."""
        if (second := int(time.time())) != self._dated:
            self._dated = second
            state.default_headers = [(b"date", formatdate(second, usegmt=True).encode()), *config.encoded_headers]

    def make_room(self) -> bool:
        """Close the connection that is idle for longest when there are too many; False when none is idle."""
        if self.open <= self.bound:
            return True
        self.crowded.warn("More than %d connections are open: the longest idle ones are closed (%d times)", self.bound)
        if not self.idle:
            return False
        oldest, _ = self.idle.popitem(last=False)
        oldest.transport.abort()
        return True

    def watch_descriptors(self) -> None:
        """Log when this process has no descriptor left: uvloop then closes new connections and reports nothing."""
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                return
            self.exhausted.warn(
                "No file descriptor is left (%d connections are open): new connections are closed at once. "
                "Raise the limit of open files (`ulimit -n`) for this process (noticed %d times)",
                self.open,
            )


class HeadRefused(Exception):
    """The head of a request is too large; raised inside the parser to stop it."""


class LimitedProtocol(HttpToolsProtocol):
    """HTTP/1.1 of uvicorn with bounds on the head of a request, checked as its bytes arrive.

    A connection without a request in progress has `head_seconds` to send a whole head; between requests uvicorn's own
    keep-alive timeout holds until the first byte of the next one.
    """

    def __init__(
        self,
        connections: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._all = connections
        self._limits = connections.limits
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = False
        self._head_bytes = self._fields = 0
        self._unparsed = 0  # bytes since the parser's last callback; grows while a field does not end
        self._refused = False
        self._upgraded = False
        self._discarded = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, and make room for it."""
        super().connection_made(transport)
        self._all.open += 1
        if not self._all.make_room():
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections are open. Try again in a few seconds.")
            return
        self._all.idle[self] = None
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._all.open -= 1
        self._all.idle.pop(self, None)
        self._cancel_deadline()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse slice by slice, so that no head grows past its bound."""
        for start in range(0, len(data), _SLICE):
            if self._refused or self.transport.is_closing():
                self._discard(len(data) - start)
                return
            part = data[start : start + _SLICE] if len(data) > _SLICE else data
            self._unparsed += len(part)
            super().data_received(part)
            if self._unparsed + (self._head_bytes if self._in_head else 0) > self._limits.head_bytes + _SLICE:
                self._refuse_head()
        self._watch()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over: it is counted until the socket closes, and no deadline of a request holds any more."""
        self._cancel_deadline()
        self._unset_keepalive_if_required()
        self._all.idle.pop(self, None)
        self._upgraded = True
        super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        """Start to count a head."""
        self._in_head = True
        self._head_bytes = self._fields = self._unparsed = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the target to the head."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count the field; those of a trailer count too."""
        self._fields += 1
        self._count(len(name) + len(value) + _FIELD_OVERHEAD)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Take the connection from the idle ones: its request begins."""
        self._all.renew_date(self.config, self.server_state)
        self._in_head = False
        self._unparsed = 0
        self._all.idle.pop(self, None)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on; the application bounds bodies."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request: it has arrived whole."""
        self._unparsed = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Count the connection among the idle ones again, unless a pipelined request waits."""
        super().on_response_complete()
        if not self._answering and not self.transport.is_closing():
            self._all.idle[self] = None
            self._watch()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser did not take; when a head was refused, say that."""
        if self._over:
            self._refuse_head()
        else:
            self._answer(HTTPStatus.BAD_REQUEST, msg)

    @property
    def _answering(self) -> bool:
        return bool(self.cycle) and not self.cycle.response_complete

    @property
    def _over(self) -> bool:
        return self._head_bytes > self._limits.head_bytes or self._fields > self._limits.head_fields

    def _count(self, size: int) -> None:
        self._head_bytes += size
        self._unparsed = 0
        if self._over:
            raise HeadRefused

    def _watch(self) -> None:
        """Have the deadline run while something is awaited from the client that uvicorn's own timer does not cover."""
        if self._upgraded:
            return
        if self._answering or self.timeout_keep_alive_task is not None or self.transport.is_closing():
            self._cancel_deadline()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self._limits.head_seconds, self._too_slow)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._in_head and not self._refused:
            message = f"The head of the request did not arrive within {self._limits.head_seconds:g} s."
            self._answer(HTTPStatus.REQUEST_TIMEOUT, message)
        else:
            self.transport.close()

    def _refuse_head(self) -> None:
        self._all.refused.warn("A request's head is too large: refused with 431 (%d times)")
        limits = self._limits
        self._answer(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"The head of a request may have {limits.head_bytes} bytes and {limits.head_fields} fields at most.",
        )

    def _answer(self, status: HTTPStatus, message: str) -> None:
        """Say why, then close: at once when the client is still sending, it would lose the answer."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._all.idle.pop(self, None)
        self._cancel_deadline()
        self._unset_keepalive_if_required()
        if self._answering:  # an earlier request's answer is on its way: nothing may be written into it
            self.transport.abort()
            return
        body = f"{message}\n".encode()
        headers = {"content-type": "text/plain; charset=utf-8", "content-length": len(body), "connection": "close"}
        lines = [f"{name.lower()}: {value}" for name, value in (headers | SECURITY_HEADERS).items()]
        head = "\r\n".join([f"HTTP/1.1 {status.value} {status.phrase}", *lines, "", ""])
        self.transport.write(head.encode() + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._deadline = self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > _LINGER_BYTES:
            self.transport.abort()


class CountedSocket(WSProtocol):
    """A web socket of uvicorn that counts as an open connection until it is lost."""

    def __init__(self, connections: Connections, **given: Any) -> None:  # noqa: ANN401 -- uvicorn's own arguments
        super().__init__(**given)
        self._all = connections

    def handle_ping(self, event: Ping) -> None:
        """Answer a ping, unless the client does not read its answers: they would fill the memory.

        RFC 6455 lets an answer to a later ping stand for those before it.
        """
        if self.writable.is_set():
            super().handle_ping(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, which the HTTP protocol counted when it was made."""
        self._all.open -= 1
        super().connection_lost(exc)


def socket_factory(connections: Connections) -> Callable[..., CountedSocket]:
    """Return what uvicorn calls for each connection that becomes a web socket."""

    def make(**given: Any) -> CountedSocket:  # noqa: ANN401 -- uvicorn's own arguments
        return CountedSocket(connections, **given)

    return make


def protocol_factory(connections: Connections) -> Callable[..., LimitedProtocol]:
    """Return what uvicorn calls for each connection."""

    def make(**given: Any) -> LimitedProtocol:  # noqa: ANN401 -- uvicorn's own arguments
        return LimitedProtocol(connections, **given)

    return make
