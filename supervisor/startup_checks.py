"""Check what a start needs: free ports, API keys and processes that answer; define the errors that prevent one."""

from __future__ import annotations

import http.client
import socket
from urllib.parse import urlsplit

from core.errors import Conflict, Unavailable
from core.exposure import is_loopback
from core.settings import Settings
from supervisor.short_process import run_in_short_process


class AlreadyRunning(Conflict):
    """Another `imagefarm up` has locked this data directory."""

    code = "already_running"


class PortTaken(Unavailable):
    """Another program listens on a port that the farm needs."""

    code = "port_taken"


class DataDirUnusable(Unavailable):
    """The data directory cannot be created or written."""

    code = "data_dir_unusable"


def take_port(host: str, port: int, option: str) -> int:
    """Return `port` when a server can listen there, or a free one for 0. Raises PortTaken, which names `option`.

    The port is not reserved: another program may still take it, and the child then reports that.
    """
    family, kind, protocol, _, address = _resolve(host, port, option)
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            raise PortTaken(_explain(host, port, option, error)) from error
        return int(probe.getsockname()[1])


def _resolve(host: str, port: int, option: str) -> tuple[int, int, int, str, tuple[str | int, ...]]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]  # type: ignore[return-value]
    except socket.gaierror as error:
        raise PortTaken(f"{host} is not an address of this machine ({error.strerror}); see {option}.") from error


def _explain(host: str, port: int, option: str, error: OSError) -> str:
    setting = f"IMAGEFARM_{option.lstrip('-').replace('-', '_').upper()}"
    return (
        f"Port {port} on {host} is not free ({error.strerror}). "
        f"Stop the program that uses it, or choose another port: {option} N or {setting}=N (0 takes a free one)."
    )


def check_ports_differ(settings: Settings) -> None:
    """Raise PortTaken when API and Flower would listen on one port."""
    if settings.port == settings.flower_port != 0:
        raise PortTaken(
            f"API and Flower cannot both listen on port {settings.port}: choose another for one of them, with --port N or "
            "--flower-port N (0 takes a free one)."
        )


def answers_ok(url: str) -> bool:
    """Return whether GET `url` is answered with 200 within a second."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=1)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def any_key_exists(settings: Settings) -> bool:
    """Return whether an API key was ever created.

    False without a look-up when the API listens on loopback or the farm never ran.
    """
    never_ran = not settings.database_url and not (settings.data_dir / "imagefarm.db").exists()
    if is_loopback(settings.host) or never_ran:
        return False
    return run_in_short_process(lambda: _any_ever(settings.resolved_database_url))


def _any_ever(url: str) -> bool:
    from db.api_keys import any_ever
    from db.database import Database

    database = Database(url)
    try:
        return any_ever(database)
    finally:
        database.dispose()
