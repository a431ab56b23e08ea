"""Serving the application: one process, one event loop."""

from __future__ import annotations

import socket

import uvicorn

from api.app import create_app
from core.settings import Settings

GRACE_SECONDS = 5
"""How long answers that are being sent may go on after a stop was asked for."""


class Server(uvicorn.Server):
    """Tells waiting callers (long polls, event streams) to finish before it waits for them."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Runs once, when a signal or `should_exit` asked for it."""
        if (farm := getattr(self.config.app.state, "farm", None)) is not None:  # type: ignore[union-attr]
            farm.stop_waiting()
        await super().shutdown(sockets)


def make_server(settings: Settings) -> Server:
    """A server that is not started yet; `run()` serves until SIGINT or SIGTERM."""
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=settings.log_level == "DEBUG",
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return Server(config)
