"""Bound the size and time of request bodies, refuse malformed Host headers and writes by other web sites' pages."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import shaped
from api.public_address import public_address
from core.errors import FarmError, Forbidden
from core.exposure import is_loopback
from core.settings import Settings

BODY_SECONDS = 30.0
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(:[0-9]{0,5})?")
"""`host [ ":" port ]` of RFC 9110; anything else would break the request's URL, or change the path in it."""


class RequestGuard:
    """ASGI middleware that answers 400, 403, 408 and 413 itself."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._max_bytes = settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = _malformed_host(headers)
        if refusal is None and scope["method"] in _SAFE_METHODS:
            await self._app(scope, receive, send)
            return
        refusal = refusal or self._refusal(headers)
        if refusal is not None:
            await shaped(refusal, Request(scope))(scope, receive, send)
            return
        await self._app(scope, self._bounded(receive), send)

    def _refusal(self, headers: Headers) -> FarmError | None:
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or len(length) > 18 or int(length) > self._max_bytes:
            return self._too_large()
        if _is_foreign(headers):
            return Forbidden(
                "Another web site's page sent this request. Open the farm's own page, or call from a program.",
                code="cross_site_request",
            )
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


def check_host(name: str, settings: Settings) -> None:
    """Refuse callers without a key who reach a loopback-only farm by a name that is not a loopback name.

    A web site can point its own name to 127.0.0.1 (DNS rebinding); its page would then have the farm's origin.
    """
    if settings.open_access or not is_loopback(settings.host) or is_loopback(name):
        return
    raise Forbidden(
        f"Without keys this farm answers on this machine only, not as '{name[:100]}'. Create a key "
        "(`imagefarm keys create`), or, behind a proxy that authenticates callers, set IMAGEFARM_OPEN_ACCESS=true.",
        code="unknown_host",
    )


def host_of(request: Request) -> str:
    """Return the host name that the request was sent to; `request.url` would also decode the query, which may fail."""
    match = _HOST.fullmatch(request.headers.get("host", ""))
    return (match[1].strip("[]") if match else "") or (request.scope.get("server") or ("",))[0]


def _malformed_host(headers: Headers) -> FarmError | None:
    if all(_HOST.fullmatch(host) for host in headers.getlist("host")):
        return None
    return FarmError("The Host header is malformed: send `name` or `name:port`.", code="bad_request")


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
    return sender.lower() not in (headers.get("host", "").lower(), public_address().netloc)
