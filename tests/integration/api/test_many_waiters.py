"""Slow clients and many clients do not block others."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack

import httpx
import pytest

from api import request_guard
from api.threads import THREADS

HEAD = b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
GOOD = {"prompt": "a red fox", "width": 64, "height": 64}


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


def connect(api: httpx.Client) -> socket.socket:
    return socket.create_connection((api.base_url.host, api.base_url.port or 80), timeout=120)


def test_endless_bodies_do_not_block_other_clients(api: httpx.Client) -> None:
    with ExitStack() as opened:
        for _ in range(200):
            opened.enter_context(connect(api)).sendall(HEAD + b'{"prompt": "')
        assert api.post("/v1/jobs", json=GOOD).status_code == 202


def test_a_body_that_takes_too_long_is_refused(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_guard, "BODY_SECONDS", 0.3)
    with connect(api) as slow:
        slow.sendall(HEAD + b'{"prompt": "')
        answer = slow.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"body_too_slow" in answer


def test_listeners_that_do_not_read_do_not_block_other_clients(api: httpx.Client) -> None:
    job = api.post("/v1/jobs", json=GOOD).json()
    ask = f"GET /v1/jobs/{job['id']}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    with ExitStack() as opened:
        for _ in range(200):
            opened.enter_context(connect(api)).sendall(ask)
        assert api.post("/v1/jobs", json=GOOD).status_code == 202


def test_a_thousand_listeners_hold_no_thread_and_no_database_connection_each(api: httpx.Client) -> None:
    job = api.post("/v1/jobs", json=GOOD).json()
    threads = threading.active_count()
    ask = f"GET /v1/jobs/{job['id']}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    with ExitStack() as opened:
        streams = [opened.enter_context(connect(api)) for _ in range(1000)]
        for stream in streams:
            stream.sendall(ask)
        for stream in streams:
            received = b""
            while b"event: status" not in received:
                chunk = stream.recv(65536)
                assert chunk, "the stream ended"
                received += chunk
        assert threading.active_count() <= threads + THREADS
        # The pool has 16 connections: 1,000 held ones would leave none for other requests.
        assert api.post("/v1/jobs", json=GOOD).status_code == 202
        assert api.get(f"/v1/jobs/{job['id']}").json()["status"] == "queued"
