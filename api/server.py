"""HTTP server of the application: one process, one event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import uvicorn

from api.app import create_app
from api.http_limits import (
    Connections,
    HttpLimits,
    connection_bound,
    protocol_factory,
    raise_descriptor_limit,
    socket_factory,
)
from core.settings import Settings

GRACE_SECONDS = 5
"""Time for responses in progress to complete after a stop was requested."""

TICK_SECONDS = 5.0
"""Between two looks at the free descriptors."""
_SOCKET_BYTES = 64 * 1024
"""Largest message of a client, in bytes: clients send only small ones."""
_SOCKET_PING_SECONDS = 60.0


class Server(uvicorn.Server):
    """Server that ends long polls and event streams before it waits for open connections."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        self._wake: Callable[[], object] = bool
        self._should_exit = False
        super().__init__(config)
        self.connections = connections

    @property
    def should_exit(self) -> bool:
        """Whether to stop; set by signal handlers and other threads, which ends the wait for the next tick."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._should_exit = value
        if value:
            self._wake()

    async def main_loop(self) -> None:
        """Look at the free descriptors now and then; uvicorn wakes up ten times a second, for the Date header too."""
        loop, exiting = asyncio.get_running_loop(), asyncio.Event()
        self._wake = partial(loop.call_soon_threadsafe, exiting.set)
        try:
            while not await self.on_tick(0):
                self.connections.watch_descriptors()
                with suppress(TimeoutError):
                    async with asyncio.timeout(TICK_SECONDS):
                        await exiting.wait()
        finally:
            self._wake = bool

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down; called once after a signal or `should_exit`."""
        if (farm := getattr(self.config.app.state, "farm", None)) is not None:  # type: ignore[union-attr]
            farm.stop_waiting()
        await super().shutdown(sockets)


def make_server(settings: Settings, limits: HttpLimits | None = None) -> Server:
    """Create a server; its `run()` serves until SIGINT or SIGTERM."""
    limits = limits or HttpLimits()
    bound = connection_bound(raise_descriptor_limit())
    connections = Connections(limits, limits.connections or bound)
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=settings.log_level == "DEBUG",
        server_header=False,
        http=protocol_factory(connections),  # type: ignore[arg-type]  # uvicorn only ever calls it
        ws=socket_factory(connections) if settings.comfyui else "none",  # type: ignore[arg-type]  # only ever called
        ws_max_size=_SOCKET_BYTES,
        ws_ping_interval=_SOCKET_PING_SECONDS,
        ws_ping_timeout=_SOCKET_PING_SECONDS,
        ws_per_message_deflate=False,  # its buffers take more memory than all else that an idle socket needs
        proxy_headers=False,  # uvicorn trusts all local programs; IMAGEFARM_TRUSTED_PROXIES names the proxies
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return Server(config, connections)
