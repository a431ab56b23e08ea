"""Malformed request headers are refused with 4xx or ignored, and never cause a 5xx."""

from __future__ import annotations

import socket

import httpx
import pytest

from tests.integration.api.running import WorkerSide

BODY = b'{"prompt": "a red fox", "width": 64, "height": 64}'
JSON = b"Content-Type: application/json\r\n"
VALUES = [
    b"http://[",
    b"http://[::1",
    b"[",
    b"]:80",
    b"null",
    b"//",
    b"http://a:99999999999",
    b"9" * 5000,
    b"\xb2\xff\xfe",
    b";;==,,",
    b'"',
    b"W/",
    b"bytes=\xb2-",
    b"bytes=" + b"9" * 5000 + b"-",
    b"for=[;proto=x",
    b"Basic \xff",
    b"q=\xb2",
    b"application/json; charset=[",
]
NAMES = [
    *("Origin", "Host", "Referer", "Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "If-None-Match"),
    *("If-Range", "If-Modified-Since", "Range", "Accept", "Authorization", "Cookie", "Last-Event-ID", "Prefer"),
    *("Idempotency-Key", "X-Client-Label", "X-API-Key", "Content-Type", "Sec-Fetch-Site", "Accept-Encoding", "Upgrade"),
]


@pytest.fixture
def api(shared_api: httpx.Client) -> httpx.Client:
    return shared_api


def send(api: httpx.Client, method: str, path: str, headers: bytes, body: bytes = b"") -> int:
    """Send a request as raw bytes and return the status of the response."""
    host = b"" if b"\r\nhost:" in b"\r\n" + headers.lower() else b"Host: 127.0.0.1\r\n"
    head = f"{method} {path} HTTP/1.1\r\n".encode("latin-1") + host + headers
    head += b"Connection: close\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n"
    with socket.create_connection((api.base_url.host, api.base_url.port or 80), timeout=120) as connection:
        connection.sendall(head + body)
        return int(connection.makefile("rb").readline().split()[1])


@pytest.fixture
def ended(api: httpx.Client, shared_worker: WorkerSide) -> dict[str, str]:
    """Finish a job and return the paths of the job, its events and its image."""
    job = api.post("/v1/jobs", json={"prompt": "a red fox", "width": 64, "height": 64}).json()
    while (claimed := shared_worker.claim()) is not None:
        shared_worker.finish(claimed)
    output = api.get(f"/v1/jobs/{job['id']}").json()["outputs"][0]
    return {"job": job["urls"]["self"], "events": job["urls"]["events"], "content": output["content_url"]}


def test_a_malformed_header_causes_no_5xx(api: httpx.Client, ended: dict[str, str]) -> None:
    paths = ["/v1/jobs", "/", "/sdapi/v1/options", *ended.values()]
    for row, name in enumerate(NAMES):
        content_type = b"" if name == "Content-Type" else JSON
        for column, value in enumerate(VALUES):
            line, path = name.encode() + b": " + value + b"\r\n", paths[(row + column) % len(paths)]
            assert send(api, "GET", path, line) < 500, (path, name, value)
            assert send(api, "POST", "/v1/jobs", line + content_type, BODY) < 500, (name, value)


@pytest.mark.parametrize("origin", [b"http://[", b"http://[::1", b"null", b"http://evil.example", b"\xff"])
def test_a_malformed_origin_cannot_write(api: httpx.Client, origin: bytes) -> None:
    assert send(api, "POST", "/v1/jobs", b"Origin: " + origin + b"\r\n" + JSON, BODY) == 403


@pytest.mark.parametrize(
    "host", [b"[", b"a b", b"evil.example/v1/session?", b"127.0.0.1#", b"user@127.0.0.1", b"127.0.0.1:x", b"[::1"]
)
def test_a_malformed_host_is_400(api: httpx.Client, host: bytes) -> None:
    for path in ("/v1/jobs", "/healthz", "/sdapi/v1/options"):
        assert send(api, "GET", path, b"Host: " + host + b"\r\n") == 400


def test_a_host_with_unusual_but_valid_form_is_accepted(api: httpx.Client) -> None:
    for host in (b"127.0.0.1", b"localhost:1", b"[::1]:7860", b"LOCALHOST", b"127.0.0.1:"):
        assert send(api, "GET", "/healthz", b"Host: " + host + b"\r\n") == 200


def test_a_websocket_handshake_is_not_a_server_error(api: httpx.Client) -> None:
    upgrade = (
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    assert send(api, "GET", "/v1/jobs", upgrade) < 500
