"""Host names of requests."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from api.request_guard import host_of


@pytest.mark.parametrize(
    ("host", "name"),
    [(b"localhost:7860", "localhost"), (b"[::1]:7860", "::1"), (b"evil.example", "evil.example"), (b"[", "127.0.0.1")],
)
def test_the_host_is_read_without_parsing_the_url(host: bytes, name: str) -> None:
    """The query is not UTF-8: `request.url` would raise UnicodeDecodeError."""
    scope = {"type": "http", "path": "/", "query_string": b"\xff", "headers": [(b"host", host)]}
    assert host_of(Request(scope | {"server": ("127.0.0.1", 7860)})) == name
