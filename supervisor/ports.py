"""Ports: is this one free, and if any will do, which."""

from __future__ import annotations

import socket

from supervisor.errors import PortTaken


def take_port(host: str, port: int, option: str) -> int:
    """`port` when a server could listen there, or a free one for 0; raises PortTaken, naming `option` as the way out.

    Nothing is reserved: another program may still come between. The child that then finds it taken says so.
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
        raise PortTaken(f"{host} is no address of this machine ({error.strerror}); see {option}.") from error


def _explain(host: str, port: int, option: str, error: OSError) -> str:
    setting = f"IMAGEFARM_{option.lstrip('-').replace('-', '_').upper()}"
    return (
        f"Port {port} on {host} is not free ({error.strerror}). "
        f"Stop the program that uses it, or choose another port: {option} N or {setting}=N (0 takes a free one)."
    )
