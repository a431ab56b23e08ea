"""Refuse unknown and malformed hosts and writes by other web sites' pages; bound the size and time of request bodies."""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from api.problems import problem_response, shaped
from api.public_address import public_address
from core.errors import FarmError, Forbidden
from core.exposure import is_loopback
from core.settings import Settings

BODY_SECONDS = 30.0
_EVERY_HOST = "*"
_EVERY_ADDRESS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 -- compared, not bound
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(:[0-9]{0,5})?")
"""`host [ ":" port ]` of RFC 9110; anything else would break the request's URL, or change the path in it."""


@lru_cache(maxsize=64)
def _canonical_host(name: str) -> str:
    """Return a host name or address in the form in which equal ones compare equal."""
    plain = name.strip("[]").rstrip(".").lower()
    try:
        address = ip_address(plain)
    except ValueError:
        return plain
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


@dataclass(frozen=True)
class AllowedHosts:
    """The host names that the API answers to.

    A web site can let its own name resolve to the farm's address (DNS rebinding); its page then has the farm's origin,
    and the browser lets it read and send everything. Such a request carries the site's name, which is not in here.
    """

    names: frozenset[str]
    every_host: bool
    any_own_address: bool
    """Whether the address that a connection was made to is allowed: a farm on all addresses cannot list them."""

    @classmethod
    def of(cls, settings: Settings) -> AllowedHosts:
        """Return the hosts of the setting `allowed_hosts`, loopback names, the address to listen on and those of URLs."""
        listens_everywhere = settings.host in _EVERY_ADDRESS
        urls = {urlsplit(url).hostname or "" for url in (settings.public_url, settings.join_url)}
        names = {*settings.allowed_hosts, settings.host, *urls}
        if listens_everywhere and not settings.allowed_hosts:
            machine = socket.gethostname()
            names |= {machine, machine.partition(".")[0]}
        return cls(
            names=frozenset(_canonical_host(name) for name in names if name),
            every_host=_EVERY_HOST in settings.allowed_hosts,
            any_own_address=listens_everywhere and not settings.allowed_hosts,
        )

    def allow(self, host: str, reached_at: str) -> bool:
        """Return whether a request for `host` may be answered; `reached_at` is the local address of its connection."""
        name = _canonical_host(host)
        if self.every_host or is_loopback(name) or name in self.names:
            return True
        return self.any_own_address and name == _canonical_host(reached_at)


class RequestGuard:
    """ASGI middleware that answers 400, 403, 408 and 413 itself."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._max_bytes = settings.max_body_bytes
        self._allowed = AllowedHosts.of(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._wrong_host(headers, scope)
        if scope["type"] == "websocket":
            # Browsers let any site's page open a socket to any other; only its Origin tells them apart.
            refusal = refusal or (_cross_site() if _is_foreign(headers) else None)
            if refusal is not None:
                await WebSocket(scope, receive, send).send_denial_response(problem_response(refusal))
                return
            await self._app(scope, receive, send)
            return
        if refusal is None and scope["method"] in _SAFE_METHODS:
            await self._app(scope, receive, send)
            return
        refusal = refusal or self._refusal(headers)
        if refusal is not None:
            await shaped(refusal, Request(scope))(scope, receive, send)
            return
        await self._app(scope, self._bounded(receive), send)

    def _wrong_host(self, headers: Headers, scope: Scope) -> FarmError | None:
        """Return the refusal of a host that the farm does not answer to; browsers name one in every request."""
        reached_at = (scope.get("server") or ("",))[0]
        for value in headers.getlist("host"):
            match = _HOST.fullmatch(value)
            if match is None:
                return FarmError("The Host header is malformed: send `name` or `name:port`.", code="bad_request")
            if match[1] and not self._allowed.allow(match[1], reached_at):
                return _unknown_host(match[1])
        return None

    def _refusal(self, headers: Headers) -> FarmError | None:
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or len(length) > 18 or int(length) > self._max_bytes:
            return self._too_large()
        if _is_foreign(headers):
            return _cross_site()
        return None

    def _too_large(self) -> FarmError:
        return FarmError(f"The body is larger than {self._max_bytes} bytes, the limit.", code="body_too_large")

    def _bounded(self, receive: Receive) -> Receive:
        end: float | None = None
        received, complete = 0, False

        async def bounded() -> Message:
            nonlocal end, received, complete
            if complete:  # after the body comes only the client's disconnect, which may take any time
                return await receive()
            loop = asyncio.get_running_loop()
            end = end if end is not None else loop.time() + BODY_SECONDS
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError:
                raise FarmError(f"The body did not arrive within {BODY_SECONDS:g} s.", code="body_too_slow") from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > self._max_bytes:
                raise self._too_large()
            return message

        return bounded


def _unknown_host(name: str) -> FarmError:
    shown = name[:100]
    return Forbidden(
        f"This farm does not answer as '{shown}'. If that is its name, start it with IMAGEFARM_ALLOWED_HOSTS={shown} "
        "(several are separated by commas); otherwise use its address on this machine.",
        code="unknown_host",
    )


def _cross_site() -> Forbidden:
    return Forbidden(
        "Another web site's page sent this request. Open the farm's own page, or call from a program.",
        code="cross_site_request",
    )


def _is_foreign(headers: Headers) -> bool:
    """Return whether a page of another site sent the request: browsers name the page's origin, programs do not."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site") == "cross-site"
    try:
        sender = urlsplit(origin).netloc
    except ValueError:
        return True
    # A proxy may send its own name for the farm as Host; the public address is where the page was read.
    own = {headers.get("host", "").lower(), public_address().netloc}
    return not sender or sender.lower() not in own
