"""Bound size and time of request bodies, and refuse writes that other web sites' pages send."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import shaped
from core.errors import FarmError, Forbidden
from core.exposure import is_loopback
from core.settings import Settings

BODY_SECONDS = 30.0
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class RequestGuard:
    """ASGI middleware; answers 413, 408 and 403 itself."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._max_bytes = settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["method"] in _SAFE:
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(Headers(scope=scope))
        if refusal is not None:
            await shaped(refusal, Request(scope))(scope, receive, send)
            return
        await self._app(scope, self._bounded(receive), send)

    def _refusal(self, headers: Headers) -> FarmError | None:
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length) > self._max_bytes:
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
            if complete:  # what comes after the body is the client leaving, which may take for ever
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
    """Refuses callers without a key who know a farm of this machine by another name.

    A web site can have its own name lead to 127.0.0.1, and its page would then pass for the farm's own.
    """
    if settings.open_access or not is_loopback(settings.host) or is_loopback(name):
        return
    raise Forbidden(
        f"Without keys this farm answers on this machine only, not as '{name[:100]}'. Create a key "
        "(`imagefarm keys create`), or, behind a proxy that checks who calls, set IMAGEFARM_OPEN_ACCESS=true.",
        code="unknown_host",
    )


def _is_foreign(headers: Headers) -> bool:
    """Browsers name the page that sends; programs do not."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site") == "cross-site"
    return urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
