"""A small hub on loopback: model listing and files with byte ranges, with faults on request."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """Serves folders as repositories. `cut_after`: path -> bytes after which one response is cut off.

    `held_after`: path -> bytes of the file after which every response sets `holding` and waits for `release`.
    """

    def __init__(self, repos: dict[str, Path]) -> None:
        self.repos = repos
        self.cut_after: dict[str, int] = {}
        self.held_after: dict[str, int] = {}
        self.holding = threading.Event()
        self.release = threading.Event()
        self.refused: set[str] = set()
        self.corrupt: set[str] = set()
        self.short: set[str] = set()
        self.ranges: list[tuple[str, str]] = []
        self.sent_bytes = 0
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: ClassVar[HubServer]

    def log_message(self, *_: object) -> None:
        """Do not log."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path).path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._list("/".join(parts[2:4]))
        else:
            self._file("/".join(parts[:2]), "/".join(parts[4:]))

    def do_HEAD(self) -> None:
        """Return a file's metadata as huggingface_hub requests it before a download."""
        parts = urlsplit(self.path).path.strip("/").split("/")
        file = self.hub.repos["/".join(parts[:2])] / "/".join(parts[4:])
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(file.read_bytes()).hexdigest()}"')
        self.send_header("Content-Length", str(file.stat().st_size))
        self.end_headers()

    def _list(self, repo: str) -> None:
        folder = self.hub.repos.get(repo)
        if folder is None:
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        siblings = [_sibling(folder, path) for path in sorted(folder.rglob("*")) if path.is_file()]
        body = {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings, "tags": [], "downloads": 0}
        self._answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _file(self, repo: str, path: str) -> None:
        if repo not in self.hub.repos:
            self._answer(404, b"", {})
            return
        data = (self.hub.repos[repo] / path).read_bytes()
        if path in self.hub.refused:
            self._answer(403, b"", {})
            return
        if path in self.hub.corrupt:
            data = bytes(len(data))
        if path in self.hub.short:
            data = data[:-10]
        start = 0
        if asked := self.headers.get("Range"):
            self.hub.ranges.append((path, asked))
            start = int(asked.removeprefix("bytes=").split("-")[0])
        self._send(path, data, start)

    def _send(self, path: str, data: bytes, start: int) -> None:
        body = data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if (held := self.hub.held_after.get(path)) is not None:
            self._write_held(body, max(held - start, 0))
            return
        cut = self.hub.cut_after.pop(path, None)
        self.wfile.write(body if cut is None else body[:cut])
        self.hub.sent_bytes += len(body) if cut is None else cut
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True

    def _write_held(self, body: bytes, held: int) -> None:
        with suppress(ConnectionError):  # Its reader may have been killed meanwhile.
            self.wfile.write(body[:held])
            self.wfile.flush()
            self.hub.holding.set()
            self.hub.release.wait()
            self.wfile.write(body[held:])
            self.hub.sent_bytes += len(body)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _sibling(folder: Path, path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    entry: dict[str, Any] = {"rfilename": path.relative_to(folder).as_posix(), "size": len(data), "blobId": "0"}
    if path.suffix in (".safetensors", ".bin"):
        sha256 = hashlib.sha256(data).hexdigest()
        entry["lfs"] = {"sha256": sha256, "size": len(data), "pointerSize": 130}
    return entry
