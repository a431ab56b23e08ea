"""Host names of requests."""

from __future__ import annotations

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.types import Message

from api.request_guard import RequestGuard
from core.settings import Settings


def status_of(*hosts: bytes, reached_at: str = "127.0.0.1", **settings: object) -> int:
    """Return the status of a request with these Host headers; its query is not UTF-8, so `request.url` cannot be read."""
    sent: list[Message] = []

    async def run() -> None:
        async def receive() -> Message:
            return {"type": "http.request"}

        async def send(message: Message) -> None:
            sent.append(message)

        app = Starlette()
        guard = RequestGuard(app, Settings(_env_file=None, **settings))  # type: ignore[arg-type]
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/",
            "query_string": b"\xff",
            "server": (reached_at, 7860),
            "app": app,
        }
        await guard(scope | {"headers": [(b"host", host) for host in hosts]}, receive, send)

    asyncio.run(run())
    return int(sent[0]["status"])


ANSWERED, REFUSED, MALFORMED = 404, 403, 400
"""The application behind the guard has no routes."""


@pytest.mark.parametrize("host", [b"localhost:7860", b"[::1]:7860", b"LOCALHOST", b"localhost.", b"127.8.8.8", b""])
def test_loopback_names_are_answered_whatever_is_set(host: bytes) -> None:
    assert status_of(host) == ANSWERED
    assert status_of(host, allowed_hosts="farm.example", host="10.0.0.5") == ANSWERED


@pytest.mark.parametrize(
    "host", [b"evil.example", b"localhost.evil.example", b"127.0.0.1.nip.io", b"10.0.0.5", b"0.0.0.0:7860"]
)
@pytest.mark.parametrize("open_access", [False, True])
def test_other_names_are_refused(host: bytes, open_access: bool) -> None:
    assert status_of(host, open_access=open_access) == REFUSED
    assert status_of(b"localhost", host, open_access=open_access) == REFUSED


def test_a_request_without_a_host_is_answered() -> None:
    """Browsers always send one; health checks over HTTP/1.0 do not."""
    assert status_of() == ANSWERED


@pytest.mark.parametrize("host", [b"[", b"a b", b"evil.example/x", b"user@127.0.0.1"])
def test_a_malformed_host_is_refused_even_when_every_name_is_allowed(host: bytes) -> None:
    assert status_of(host, allowed_hosts="*") == MALFORMED


@pytest.mark.parametrize("host", [b"farm.example", b"FARM.example.:80", b"host.docker.internal:7860", b"[2001:db8::1]"])
def test_listed_names_are_answered(host: bytes) -> None:
    listed = "farm.example, host.docker.internal,2001:db8:0::1"
    assert status_of(host, allowed_hosts=listed) == ANSWERED
    assert status_of(b"evil.example", allowed_hosts=listed) == REFUSED
    assert status_of(host, allowed_hosts="*") == ANSWERED


def test_a_farm_on_one_address_is_answered_under_that_address_only() -> None:
    assert status_of(b"10.0.0.5:7860", host="10.0.0.5") == ANSWERED
    assert status_of(b"10.0.0.6:7860", host="10.0.0.5", reached_at="10.0.0.6") == REFUSED


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::", ""])
def test_a_farm_on_every_address_is_answered_under_the_address_that_was_reached(
    everywhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Box.lan")
    for name in (b"10.0.0.5:7860", b"box", b"box.lan:1"):
        assert status_of(name, host=everywhere, reached_at="::ffff:10.0.0.5") == ANSWERED
        assert status_of(name, host=everywhere, reached_at="10.0.0.5", allowed_hosts="farm.example") == REFUSED
    assert status_of(b"10.0.0.6:7860", host=everywhere, reached_at="10.0.0.5") == REFUSED
    assert status_of(b"evil.example", host=everywhere, reached_at="10.0.0.5") == REFUSED


@pytest.mark.parametrize(
    "wrong", ["http://farm.example", "farm.example:80", "farm.example/x", "*.example", "bücher.example"]
)
def test_a_list_with_something_else_than_names_is_explained(wrong: str) -> None:
    with pytest.raises(ValueError, match="is not a host name: write names or addresses without scheme"):
        Settings(_env_file=None, allowed_hosts=f"localhost,{wrong}")
