"""Restrict Flower to programs on this machine or callers with the password, and to reading."""

from __future__ import annotations

import asyncio
import http
import os
from collections.abc import Awaitable, Callable
from typing import Any

from flower.app import Flower
from flower.views import BaseHandler
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest, RequestStartLine, ResponseStartLine
from tornado.web import HTTPError, RequestHandler

from core.exposure import is_loopback
from core.settings import Settings

OPEN_API_VARIABLE = "FLOWER_UNAUTHENTICATED_API"


def open_api_on_loopback(settings: Settings) -> None:
    """Open Flower's HTTP API without a password when only this machine can reach it.

    Flower then also sends a CORS header that lets any web site read it, and with it the farm's prompts. Replace the
    method that sends it.
    """
    if settings.flower_basic_auth.get_secret_value() or not is_loopback(settings.flower_host):
        os.environ.pop(OPEN_API_VARIABLE, None)
        return
    os.environ[OPEN_API_VARIABLE] = "true"
    BaseHandler.set_default_headers = _no_cross_origin_headers


class GuardedFlower(Flower):  # type: ignore[misc]
    """Flower that without a password answers only requests to a loopback host name.

    This prevents DNS rebinding: a web site whose host name resolves to 127.0.0.1 is refused.
    """

    def __init__(self, before_answer: Callable[[], Awaitable[None]], **options: Any) -> None:  # noqa: ANN401
        """`before_answer`: awaited before each answer. `options`: Flower's own."""
        super().__init__(**options)
        self._before_answer = before_answer

    def find_handler(self, request: HTTPServerRequest, **kwargs: object) -> object:
        if not self.options.basic_auth and not is_loopback(request.host_name):
            return self.get_handler_delegate(request, _Refused)
        return _Delayed(super().find_handler(request, **kwargs), self._before_answer)


class _Delayed(HTTPMessageDelegate):
    """Passes a request on to its handler once `before_answer` has returned."""

    def __init__(self, handler: HTTPMessageDelegate, before_answer: Callable[[], Awaitable[None]]) -> None:
        self._handler = handler
        self._before_answer = before_answer
        self._answering: asyncio.Task[None] | None = None

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        return self._handler.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._handler.data_received(chunk)

    def finish(self) -> None:
        self._answering = asyncio.ensure_future(self._answer())

    def on_connection_close(self) -> None:
        self._handler.on_connection_close()

    async def _answer(self) -> None:
        await self._before_answer()
        self._handler.finish()


class _Refused(RequestHandler):
    def prepare(self) -> None:
        raise HTTPError(http.HTTPStatus.FORBIDDEN, reason="Not a loopback host name")


def _no_cross_origin_headers(handler: RequestHandler) -> None:
    handler.set_header("X-Content-Type-Options", "nosniff")
