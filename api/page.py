"""Web page: files of the `web` package, served at every path without a route."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        # File names are the same in all versions: browsers must revalidate, and get 304 while nothing has changed.
        "Cache-Control": "no-cache",
        # The rest of the policy is in index.html; only a header can forbid framing.
        "Content-Security-Policy": "frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
    }
)
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

    def __init__(self) -> None:
        self._files = StaticFiles(directory=web_directory(), html=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send a file of the page, or the API's 404."""
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
