"""A proxy in front of a farm that injects faults: lost responses and error statuses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

Fault = str
"""`lose`: the farm gets the request but the client no response. A number: that status instead of the farm's response."""


class LossyProxy(ThreadingHTTPServer):
    """Applies the faults of the list to one request each, then forwards requests unchanged."""

    daemon_threads = True

    def __init__(self, target: str, faults: list[Fault]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.faults = faults
        self.seen: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect: tests do so on purpose."""


class _Handler(BaseHTTPRequestHandler):
    server: LossyProxy
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append(self.headers.get("Idempotency-Key", ""))
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault.isdigit():
            self._respond(int(fault), b"not now", {"Retry-After": "0"})
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "content-length")}
        response = httpx.request(self.command, self.server.target + self.path, content=body, headers=headers)
        if fault == "lose":
            self.close_connection = True
            return
        self._respond(response.status_code, response.content, {"Content-Type": response.headers["content-type"]})

    do_GET = do_POST  # noqa: N815 -- the name that http.server calls

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def _respond(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def lossy_proxy(target: str, *faults: Fault) -> Iterator[LossyProxy]:
    """Run a proxy on a free port until the block ends."""
    with LossyProxy(target, list(faults)) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
