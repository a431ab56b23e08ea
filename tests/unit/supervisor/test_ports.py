"""Free and taken ports."""

from __future__ import annotations

import socket

import pytest

from supervisor.startup_checks import PortTaken, take_port


def test_zero_gives_a_free_port() -> None:
    port = take_port("127.0.0.1", 0, "--port")
    assert 0 < port < 65536
    assert take_port("127.0.0.1", port, "--port") == port


def test_taken_port_names_option_and_setting() -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"Port {port} .*--flower-port N or IMAGEFARM_FLOWER_PORT=N"):
            take_port("127.0.0.1", port, "--flower-port")


def test_foreign_address_is_refused() -> None:
    with pytest.raises(PortTaken):
        take_port("192.0.2.1", 0, "--port")  # an address for documentation: never this machine's
    with pytest.raises(PortTaken, match="no address"):
        take_port("no-such-host.invalid", 0, "--port")
