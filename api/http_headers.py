"""Headers of every answer: those by which browsers keep other sites' pages and scripts away; alone for a HEAD request."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_FRAMES = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
DATA_POLICY = f"default-src 'none'; {_FRAMES}"
"""For answers that are no page: a browser that shows one runs nothing and loads nothing."""
PAGE_POLICY = f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; {_FRAMES}"
DOCS_POLICY = PAGE_POLICY.replace("data:;", "data: blob:;")
"""The API viewer shows images that it fetched as blobs."""

SECURITY_HEADERS = {
    "Content-Security-Policy": DATA_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}
_ENCODED = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]


class SecurityHeaders:
    """ASGI middleware: adds the headers to every answer; one that a route has set itself stays."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sender(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {name.lower() for name, _ in given}
                message["headers"] = given + [each for each in _ENCODED if each[0] not in names]
            await send(message)

        await self._app(scope, receive, sender)


class HeadAsGet:
    """ASGI middleware: serves HEAD as GET and drops the body; a stream ends after its headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        complete = False

        async def without_body(message: Message) -> None:
            nonlocal complete
            if message["type"] == "http.response.start":
                await send(message)
            elif not complete:
                complete = True
                await send({"type": "http.response.body", "body": b""})

        async def until_complete() -> Message:
            return {"type": "http.disconnect"} if complete else await receive()

        await self._app({**scope, "method": "GET"}, until_complete, without_body)
