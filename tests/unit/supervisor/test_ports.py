"""Free ports are found, and ports in use are refused."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest

from supervisor.startup_checks import PortTaken, take_port


def test_port_zero_gives_a_free_port() -> None:
    for _ in range(5):  # Another process may take the port at once.
        port = take_port("127.0.0.1", 0, "--port")
        assert 0 < port < 65536
        with suppress(PortTaken):
            assert take_port("127.0.0.1", port, "--port") == port
            break
    else:
        pytest.fail("no port that was free could be taken")


def test_a_port_in_use_names_the_option_and_the_setting() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"Port {port} .*--flower-port N or IMAGEFARM_FLOWER_PORT=N"):
            take_port("127.0.0.1", port, "--flower-port")


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(PortTaken):
        take_port("192.0.2.1", 0, "--port")  # reserved for documentation: no machine has it
    with pytest.raises(PortTaken, match="not an address"):
        take_port("no-such-host.invalid", 0, "--port")
