"""Web page: files of the `web` package, served at every path without a route."""

from __future__ import annotations

import hashlib
import re
from importlib.util import find_spec
from pathlib import Path
from stat import S_ISREG

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from api.dependencies import none_match
from api.http_headers import DOCS_POLICY, PAGE_POLICY

_REVALIDATED = "no-cache"
"""For paths that are the same in all versions: browsers get 304 while nothing has changed."""
_KEPT = "max-age=31536000, immutable"
"""For paths that name this version: a browser that has the files opens the page without asking for them."""
_VERSIONED = re.compile(r"/files/([0-9a-f]{16})(/(?:css|img|js)/.+)")
_FOLDERS = ("css", "img", "js")
_NAMED = re.compile(rf'(?<=\s)(href|src)="(?=(?:{"|".join(_FOLDERS)})/)')
_INDEX = ("/", "/index.html")
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


class Index:
    """The page's first file, which names the others below `/files/VERSION/`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: list[tuple[Path, int, int]] = []
        self.version = ""
        """Of what was served last; empty before that."""
        self._html = ""

    def html(self) -> str:
        """Return the file for the version that is in the folder now: an installation may replace it while the API runs."""
        found = (path for name in _FOLDERS for path in (self._folder / name).rglob("*.*"))
        files = [path for path in found if path.is_file()]  # editors leave links that lead nowhere
        files = sorted([self._folder / "index.html", *files])
        seen = [(path, found.st_mtime_ns, found.st_size) for path in files for found in [path.stat()]]
        if seen != self._seen:
            digest = hashlib.sha256()
            for path in files:
                digest.update(f"{path.relative_to(self._folder)} {path.stat().st_size}\n".encode())
                digest.update(path.read_bytes())
            self.version = digest.hexdigest()[:16]
            text = (self._folder / "index.html").read_text(encoding="utf-8")
            self._html = _NAMED.sub(rf'\1="files/{self.version}/', text)
            self._seen = seen
        return self._html

    def response(self, headers: Headers) -> Response:
        """Return the answer to GET."""
        html = self.html()
        tag = f'"{self.version}"'
        if none_match(headers.get("If-None-Match"), tag):
            return Response(status_code=304, headers={"ETag": tag})
        return HTMLResponse(html, headers={"ETag": tag})


class Page:
    """ASGI application for paths without a route."""

    def __init__(self, image_origin: str | None = None) -> None:
        """Let pages show images of `image_origin`, too: the bucket that links to stored files lead to."""
        self._image_origin = image_origin
        self._files = StaticFiles(directory=web_directory(), html=True)
        self._index = Index(web_directory())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send a file of the page, or the API's 404."""
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        if scope["type"] != "http":
            return
        path, cache_control = scope["path"], _REVALIDATED
        if versioned := _VERSIONED.fullmatch(path):
            path = versioned[2]
            scope = {**scope, "path": path}
            if versioned[1] == self._index.version:  # else of another version, which this one must not be taken for
                cache_control = _KEPT
        if path.startswith(_API) or path.endswith((".py", ".pyc")) or "/__pycache__" in path:
            raise HTTPException(404)
        if scope["method"] not in ("GET", "HEAD") and not self._has(path):
            raise HTTPException(404)  # which StaticFiles answers with 405, as if there were something to read
        if path in _FILES:
            scope = {**scope, "path": _FILES[path]}
        policy = DOCS_POLICY if path.startswith(_DOCS) else PAGE_POLICY
        if self._image_origin is not None:
            policy = policy.replace("'self' data:", f"'self' {self._image_origin} data:")
            policy = policy.replace("connect-src 'self'", f"connect-src 'self' {self._image_origin}")
        application: ASGIApp = self._files
        if path in _INDEX and scope["method"] == "GET":  # also for HEAD: see HeadAsGet
            application = self._index.response(Headers(scope=scope))
        await application(scope, receive, _with_headers(send, policy, cache_control))

    def _has(self, path: str) -> bool:
        """Return whether a GET of the path is answered with a file of the page."""
        if path in _FILES or path in _INDEX:
            return True
        try:
            found = self._files.lookup_path(self._files.get_path({"path": path, "root_path": ""}))[1]
        except (OSError, ValueError):  # a name too long, or with NUL
            return False
        return found is not None and S_ISREG(found.st_mode)


def _with_headers(send: Send, policy: str, cache_control: str) -> Send:
    headers = {"Cache-Control": cache_control, "Content-Security-Policy": policy}

    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return sender
