"""The web page: files of the `web` package, served at every address that no route claims."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

_HEADERS = {
    # Files keep their names across versions: browsers ask each time, and get 304 while nothing changed.
    "Cache-Control": "no-cache",
    # The rest of the policy stands in the page; framing can be forbidden only here.
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
_API = ("/v1/", "/sdapi/", "/internal/")


def web_directory() -> Path:
    """Where the page's files are, in a checkout as in an installed wheel."""
    spec = find_spec("web")
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    if not places:
        raise RuntimeError("the package `web` is not installed")
    return Path(places[0])


class Page:
    """An ASGI application for what the router does not know."""

    def __init__(self) -> None:
        self._files = StaticFiles(directory=web_directory(), html=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A file of the page, or the same 404 that the API gives."""
        if scope["type"] != "http":
            return
        path = scope["path"]
        if path.startswith(_API) or path.endswith((".py", ".pyc")) or "/__pycache__" in path:
            raise HTTPException(404)
        await self._files(scope, receive, _with_headers(send))


def _with_headers(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return sender
