"""Links as clients see them: under the public URL, or under the path at which a trusted proxy serves the farm."""

from __future__ import annotations

from contextvars import ContextVar

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.public_address import PublicAddress, forwarded, is_in, parse_networks, parse_public_url
from core.settings import Settings

_address: ContextVar[PublicAddress] = ContextVar("public_address")


def public_address() -> PublicAddress:
    """Return the address of the request that is being served."""
    return _address.get(PublicAddress())


def link(path: str) -> str:
    """Return a path of the API as clients must ask for it: with the prefix."""
    return public_address().prefix + path


def absolute_link(path: str, request: Request) -> str:
    """Return a path of the API as a whole URL."""
    server = request.scope.get("server") or ("localhost", None)
    host = request.headers.get("host") or (f"{server[0]}:{server[1]}" if server[1] else server[0])
    return (public_address().origin or f"{request.scope['scheme']}://{host}") + link(path)


def scheme_of(request: Request) -> str:
    """Return the scheme that the client uses: a proxy may end TLS."""
    return public_address().origin.partition(":")[0] or str(request.scope["scheme"])


def use_configured(settings: Settings) -> None:
    """Set the address for this task and those it starts, which serve no request."""
    _address.set(configured(settings))


def configured(settings: Settings) -> PublicAddress:
    """Return the address of the settings."""
    return parse_public_url(settings.public_url) if settings.public_url else PublicAddress()


class PublicAddressMiddleware:
    """ASGI middleware: finds out a request's public address, and removes the prefix from its path.

    A proxy may pass the whole path or strip the prefix: both lead to the same route, which sees the path without it.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._configured = configured(settings)
        self._proxies = parse_networks(settings.trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        address = self._address_of(scope)
        token = _address.set(address)
        try:
            await self._app(_without_prefix(scope, address.prefix), receive, _own_locations(scope, address, send))
        finally:
            _address.reset(token)

    def _address_of(self, scope: Scope) -> PublicAddress:
        client = scope.get("client")
        if not self._proxies or client is None or not is_in(client[0], self._proxies):
            return self._configured
        headers = Headers(scope=scope)
        sent = [",".join(headers.getlist(f"x-forwarded-{name}")) for name in ("proto", "host", "prefix")]
        if not sent[1]:
            sent[1] = headers.get("host", "") if sent[0] else ""
        return forwarded(self._configured, scope["scheme"], *sent)


def _without_prefix(scope: Scope, prefix: str) -> Scope:
    path: str = scope["path"]
    if not prefix or not (path == prefix or path.startswith(f"{prefix}/")):
        return scope
    raw = scope.get("raw_path") or b""
    return {**scope, "path": path[len(prefix) :] or "/", "raw_path": raw[len(prefix) :] or b"/"}


def _own_locations(scope: Scope, address: PublicAddress, send: Send) -> Send:
    """Rewrite redirects of the framework, which names the whole URL that the server was asked for."""

    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start" and 300 <= message["status"] < 400:
            headers = MutableHeaders(scope=message)
            own = f"{scope['scheme']}://{Headers(scope=scope).get('host', '')}/"
            if (location := headers.get("location", "")).startswith(own):
                headers["location"] = f"{address.prefix}/{location[len(own) :]}"
        await send(message)

    return sender
