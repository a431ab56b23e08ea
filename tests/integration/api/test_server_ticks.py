"""The server's own loop: it rarely wakes up, and at once when it must stop; answers have the right date nevertheless."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from email.utils import parsedate_to_datetime
from unittest.mock import patch

import httpx
import pytest

import api.server
from api.server import Server, make_server
from tests.integration.api.conftest import SettingsMaker


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


def test_a_server_that_must_stop_waits_for_no_tick(make_settings: SettingsMaker) -> None:
    ticked = threading.Event()
    on_tick = Server.on_tick

    async def noted(server: Server, counter: int) -> bool:
        stops = await on_tick(server, counter)
        ticked.set()
        return stops

    with (
        patch.object(api.server, "TICK_SECONDS", 3600.0),
        patch.object(Server, "on_tick", noted),
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        server = make_server(make_settings())
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        assert ticked.wait(120)
        server.should_exit = True
        thread.join(120)
        assert not thread.is_alive()


async def ticks_of(server: Server, seconds: float) -> int:
    """Return how often the server's loop ticked within that time."""
    count = 0

    async def tick(_: int) -> bool:
        nonlocal count
        count += 1
        return server.should_exit

    with patch.object(server, "on_tick", tick):
        task = asyncio.create_task(server.main_loop())
        await asyncio.sleep(seconds)
        server.should_exit = True
        await task
    return count


def test_an_idle_server_ticks_rarely(make_settings: SettingsMaker) -> None:
    started = time.monotonic()
    count = asyncio.run(ticks_of(make_server(make_settings()), 0.5))
    assert count <= 3 + (time.monotonic() - started), "uvicorn's own loop ticks ten times a second"


def test_answers_have_the_date_of_their_request_without_a_tick(make_settings: SettingsMaker) -> None:
    with (
        patch.object(api.server, "TICK_SECONDS", 3600.0),
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        server = make_server(make_settings())
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=120) as client:
            client.get("/healthz")  # the first tick is over
            server.server_state.default_headers = [(b"date", b"Thu, 01 Jan 1970 00:00:00 GMT")]
            server.connections._dated = 0
            asked = time.time()
            date = client.get("/healthz").headers["date"]
        server.should_exit = True
        thread.join(120)
    assert parsedate_to_datetime(date).timestamp() >= int(asked)
