"""Run the API under uvicorn."""

from __future__ import annotations

import logging

from api.encryption import SecretCipher
from api.server import make_server
from cli.exit_codes import ExitCode
from core.collections_pause import collect_from_now
from core.exposure import check_api_exposure
from core.logs import configure_logging
from core.settings import Settings
from supervisor.startup_checks import any_key_exists, take_port


def serve_api(settings: Settings) -> int:
    """Serve until a stop signal arrives. Raises PortTaken when another program listens on the port."""
    configure_logging(settings, "api")
    logging.getLogger("uvicorn.error").setLevel(max(logging.root.level, logging.WARNING))
    SecretCipher.of(settings)  # refuses a short key here: at the server's start its error would be a traceback
    check_api_exposure(settings, has_keys=any_key_exists(settings))
    take_port(settings.host, settings.port, "--port")
    server = make_server(settings)
    collect_from_now()
    server.run()
    return ExitCode.OK if server.started else ExitCode.FAILED
