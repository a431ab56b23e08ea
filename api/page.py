"""Web page: files of the `web` package, served at every path without a route."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from api.http_headers import DOCS_POLICY, PAGE_POLICY

_CACHE_CONTROL = "no-cache"
"""File names are the same in all versions: browsers must revalidate, and get 304 while nothing has changed."""
_DOCS = "/docs"
_FILES = {_DOCS: f"{_DOCS}.html", "/favicon.ico": "/img/mark.svg"}
"""Files of other names; browsers ask for the icon beside an image or a JSON text that they show alone."""
_API = ("/v1/", "/sdapi/", "/internal/")


def web_directory() -> Path:
    """Return the folder of the page's files, in a checkout or an installed wheel."""
    spec = find_spec("web")
    locations = list(spec.submodule_search_locations or []) if spec is not None else []
    if not locations:
        raise RuntimeError("the package `web` is not installed")
    return Path(locations[0])


class Page:
    """ASGI application for paths without a route."""

    def __init__(self, image_origin: str | None = None) -> None:
        """Let pages show images of `image_origin`, too: the bucket that links to stored files lead to."""
        self._image_origin = image_origin
        self._files = StaticFiles(directory=web_directory(), html=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send a file of the page, or the API's 404."""
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        if scope["type"] != "http":
            return
        path = scope["path"]
        if path.startswith(_API) or path.endswith((".py", ".pyc")) or "/__pycache__" in path:
            raise HTTPException(404)
        if path in _FILES:
            scope = {**scope, "path": _FILES[path]}
        policy = DOCS_POLICY if path.startswith(_DOCS) else PAGE_POLICY
        if self._image_origin is not None:
            policy = policy.replace("'self' data:", f"'self' {self._image_origin} data:")
            policy = policy.replace("connect-src 'self'", f"connect-src 'self' {self._image_origin}")
        await self._files(scope, receive, _with_headers(send, policy))


def _with_headers(send: Send, policy: str) -> Send:
    headers = {"Cache-Control": _CACHE_CONTROL, "Content-Security-Policy": policy}

    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return sender
