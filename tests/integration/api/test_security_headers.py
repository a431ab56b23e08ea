"""Every answer carries the headers that keep other sites away, whatever it is and whoever makes it."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import httpx
import pytest

from api.routes import health


@pytest.fixture
def api(shared_api: httpx.Client) -> httpx.Client:
    return shared_api


def assert_protected(answer: httpx.Response) -> None:
    policies = answer.headers.get_list("content-security-policy")
    assert len(policies) == 1
    assert "default-src 'none'" in policies[0]
    assert "frame-ancestors 'none'" in policies[0]
    assert "unsafe" not in policies[0]
    assert "http" not in policies[0]
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert answer.headers.get_list("x-frame-options") == ["DENY"]
    assert answer.headers.get_list("referrer-policy") == ["same-origin"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/docs", 200),
        ("GET", "/js/main.js", 200),
        ("GET", "/vendor/swagger-ui/swagger-ui-bundle.js", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/v1/models", 200),
        ("GET", "/v1/session", 200),
        ("GET", "/sdapi/v1/options", 200),
        ("GET", "/v1/jobs/nonsense", 404),
        ("GET", "/sdapi/v1/nothing", 404),
        ("GET", "/nothing", 404),
        ("GET", "/redoc", 404),
        ("GET", "/docs/oauth2-redirect", 404),
        ("DELETE", "/healthz", 405),
        ("POST", "/v1/jobs", 422),
        ("POST", "/v1/images/generations", 400),
        ("GET", "/v1/jobs/", 307),
    ],
)
def test_answers_are_protected(api: httpx.Client, method: str, path: str, status: int) -> None:
    answer = api.request(method, path, json={"prompt": 5} if method == "POST" else None)
    assert answer.status_code == status
    assert_protected(answer)


def test_refusals_of_the_guard_are_protected(api: httpx.Client) -> None:
    answer = api.post("/v1/jobs", json={}, headers={"Origin": "https://evil.test"})
    assert answer.status_code == 403
    assert_protected(answer)


def test_unexpected_errors_are_protected(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(health, "Health", broken)
    answer = api.get("/healthz")
    assert answer.status_code == 500
    assert_protected(answer)


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X-A: 1\r\n" * 101 + b"\r\n"])
def test_refusals_below_the_application_are_protected(api: httpx.Client, sent: bytes) -> None:
    parts = urlsplit(str(api.base_url))
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=120) as connection:
        connection.sendall(sent)
        raw = b""
        while data := connection.recv(65536):
            raw += data
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    assert_protected(httpx.Response(int(first.split()[1]), headers=headers, content=body))


def test_documentation_page_asks_no_other_host(api: httpx.Client) -> None:
    assert "//" not in api.get("/docs").text.replace("</", "")
    assert "'self'" in api.get("/docs").headers["content-security-policy"]
