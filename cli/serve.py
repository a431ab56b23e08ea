"""Runs the API under uvicorn."""

from __future__ import annotations

import uvicorn

from api.app import create_app
from cli.exit_codes import ExitCode
from core.settings import Settings
from supervisor.ports import take_port

GRACE_SECONDS = 5
"""How long open answers (event streams, long polls) may go on after a stop was asked for."""


def serve_api(settings: Settings) -> int:
    """Serves until told to stop; raises PortTaken when something else listens there."""
    take_port(settings.host, settings.port, "--port")
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=settings.log_level == "DEBUG",
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    server.run()
    return ExitCode.OK if server.started else ExitCode.FAILED
