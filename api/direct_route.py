"""Routes whose usual requests skip FastAPI's own handling, which takes longer than the endpoint itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.lazy_route import Build, LazyRoute
from core.json_text import parse_json

Direct = Callable[[Request], Awaitable[Response | None]]
"""Answers a request, or returns None to leave it to FastAPI: then nothing was done. Errors are raised as by an endpoint."""


_ANSWER = "__answers_directly__"
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def directly(answer: Direct) -> Callable[[Endpoint], Endpoint]:
    """Let `answer` answer the requests of an endpoint first, on a router whose `route_class` is DirectRoute."""

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _ANSWER, answer)
        return endpoint

    return mark


class DirectRoute(LazyRoute):
    """Asks what `directly` has named, then FastAPI.

    FastAPI still reads everything unusual and writes every refusal of a body or parameter, so that there is one wording of
    these; and the route is in the OpenAPI document as its endpoint describes it.
    """

    def build(self, build: Build) -> None:
        super().build(build)
        if (answer := getattr(self.endpoint, _ANSWER, None)) is not None:
            self.app = _before(self.app, answer)


def _before(usual: ASGIApp, answer: Direct) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        received: list[Message] = []

        async def recorded() -> Message:
            message = await receive()
            received.append(message)
            return message

        async def again() -> Message:
            return received.pop(0) if received else await receive()

        try:
            response = await answer(Request(scope, recorded))
        except ClientDisconnect:
            response = None
        if response is None:
            await usual(scope, again, send)
        else:
            await response(scope, receive, send)

    return app


async def json_of(request: Request) -> object | None:
    """Return a body that was sent as JSON; None for what FastAPI must look at: another type, no body, no JSON."""
    if request.headers.get("content-type") != "application/json":
        return None
    try:
        found: object = parse_json(await request.body())
    except (ValueError, RecursionError):
        return None
    return found
