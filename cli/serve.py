"""Runs the API under uvicorn."""

from __future__ import annotations

import gc
import logging

from api.server import make_server
from cli.exit_codes import ExitCode
from core.exposure import check_api_exposure
from core.logs import configure_logging
from core.settings import Settings
from supervisor.startup_checks import any_key_exists, take_port


def serve_api(settings: Settings) -> int:
    """Serves until told to stop; raises PortTaken when something else listens there."""
    configure_logging(settings, "api")
    logging.getLogger("uvicorn.error").setLevel(max(logging.root.level, logging.WARNING))
    check_api_exposure(settings, has_keys=any_key_exists(settings))
    take_port(settings.host, settings.port, "--port")
    server = make_server(settings)
    gc.freeze()  # Modules never become garbage: looking through them again and again is what makes single answers late.
    server.run()
    return ExitCode.OK if server.started else ExitCode.FAILED
