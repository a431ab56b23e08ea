"""Pings of a client that reads no answers."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from wsproto.events import Ping

from api.http_limits import CountedSocket


def test_pings_are_not_answered_into_a_full_buffer() -> None:
    """A client sends without end and never reads: each answer would stay in memory."""
    written: list[bytes] = []
    socket: Any = CountedSocket.__new__(CountedSocket)
    socket.conn = SimpleNamespace(send=lambda _: b"pong")
    socket.transport = SimpleNamespace(write=written.append)
    socket.writable = asyncio.Event()
    socket.handle_ping(Ping(b"1"))
    assert written == []
    socket.writable.set()
    socket.handle_ping(Ping(b"2"))
    assert written == [b"pong"]
