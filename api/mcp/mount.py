"""Serve the tools at `/mcp` (streamable HTTP); each tool call uses this process's own API with the caller's key."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
from fastapi import FastAPI, Request
from starlette.types import Receive, Scope, Send

from api.dependencies import identified
from api.mcp.calls import FarmCalls
from api.mcp.plain_errors import with_plain_errors
from api.problems import problem_response
from api.public_address import public_address
from core.api_keys import Scope as KeyScope
from core.errors import FarmError

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

PATH = "/mcp"
_ORIGIN = "mcp_origin"
_SENT_ON = ("authorization", "x-api-key", "api-key", "x-client-label", "host")
_CALL_SECONDS = 60.0
_MAX_BODY = 32 * 2**20


class McpFace:
    """ASGI application at `/mcp`. The SDK is loaded with the first request, since most farms never get one."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._manager: StreamableHTTPSessionManager | None = None
        self._starting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; one without a valid key is refused before it reaches the SDK."""
        request = Request(scope, receive)
        try:
            caller = await identified(request, request.headers.get("x-client-label"))
            caller.require(KeyScope.READ_OWN)
        except FarmError as error:
            await problem_response(error, request)(scope, receive, send)
            return
        host = request.headers.get("host", "localhost")
        address = public_address()
        scope[_ORIGIN] = address.origin or f"{scope['scheme']}://{host}"
        manager = await self._started()
        await manager.handle_request(scope, receive, with_plain_errors(send))

    async def stop(self) -> None:
        """End all requests."""
        self._stop.set()
        if self._task is not None:
            with suppress(asyncio.CancelledError):
                await self._task
        self._stop.clear()
        self._manager = self._task = None

    async def _started(self) -> StreamableHTTPSessionManager:
        async with self._starting:
            if self._manager is None:
                started = asyncio.Event()
                manager = self._make()
                self._task = asyncio.create_task(self._run(manager, started))
                await started.wait()
                self._manager = manager
            return self._manager

    def _make(self) -> StreamableHTTPSessionManager:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
        from mcp.server.transport_security import TransportSecuritySettings

        from api.mcp.tools import make_server

        logging.getLogger("mcp").setLevel(logging.WARNING)
        server = make_server(self._connect)
        # The request guard has already checked hosts and origins.
        security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        return StreamableHTTPSessionManager(
            server._lowlevel_server,  # its own way to an application brings a lifespan that cannot be mounted
            stateless=True,
            security_settings=security,
            max_request_body_size=_MAX_BODY,
        )

    async def _run(self, manager: StreamableHTTPSessionManager, started: asyncio.Event) -> None:
        async with manager.run():
            started.set()
            await self._stop.wait()

    def _connect(self, context: Any) -> FarmCalls:  # noqa: ANN401 -- of the SDK
        request: Request = context.request
        client = request.client or ("127.0.0.1", 0)
        transport = httpx.ASGITransport(self._app, client=(client[0], client[1]), raise_app_exceptions=False)
        http = httpx.AsyncClient(
            transport=transport,
            base_url=f"{request.scope['scheme']}://{request.headers.get('host', 'localhost')}",
            headers=_headers(request.headers),
            timeout=_CALL_SECONDS,
        )
        return FarmCalls(http, request.scope[_ORIGIN])


def _headers(sent: Mapping[str, str]) -> dict[str, str]:
    return {name: sent[name] for name in _SENT_ON if name in sent}
