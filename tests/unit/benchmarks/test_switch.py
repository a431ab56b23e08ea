"""The switch between hosts, with socket pairs in place of devices."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.servers.network.switch import Switch

ONE, OTHER = "198.18.0.1", "198.18.0.2"


class Wires:
    """A running switch with two hosts."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._thread = threading.Thread(target=Switch(theirs).serve)
        self._thread.start()
        self._theirs = theirs
        self.ends = {address: self._attach(address) for address in (ONE, OTHER)}

    def _attach(self, address: str) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.tell({"attach": address}, theirs.fileno())
        theirs.close()
        return ours

    def tell(self, message: dict[str, object], *fds: int) -> None:
        socket.send_fds(self._control, [json.dumps(message).encode()], list(fds))
        assert self._control.recv(16)

    def send(self, source: str, target: str, text: bytes) -> None:
        self.ends[source].send(b"\x45" + bytes(11) + socket.inet_aton(source) + socket.inet_aton(target) + text)

    def received(self, address: str) -> bytes:
        return self.ends[address].recv(1000)[20:]

    def close(self) -> None:
        self._control.close()
        self._thread.join()
        self._theirs.close()
        for end in self.ends.values():
            end.close()


@pytest.fixture
def wires() -> Iterator[Wires]:
    found = Wires()
    yield found
    found.close()


def direction(source: str, target: str, delay: float = 0.0, loss: float = 0.0) -> dict[str, object]:
    return {"from": source, "to": target, "delay": delay, "loss": loss}


def test_packets_reach_their_target(wires: Wires) -> None:
    wires.send(ONE, OTHER, b"there")
    wires.send(OTHER, ONE, b"and back")
    assert (wires.received(OTHER), wires.received(ONE)) == (b"there", b"and back")


def test_a_cut_of_one_direction_leaves_the_other_and_heals(wires: Wires) -> None:
    wires.tell(direction(ONE, OTHER, loss=1.0))
    wires.send(ONE, OTHER, b"lost")
    wires.send(OTHER, ONE, b"arrives")
    assert wires.received(ONE) == b"arrives"
    wires.send(OTHER, ONE, b"so the switch has seen the first")
    wires.received(ONE)
    wires.tell(direction(ONE, OTHER))
    wires.send(ONE, OTHER, b"after")
    assert wires.received(OTHER) == b"after"


def test_delayed_packets_keep_their_order(wires: Wires) -> None:
    wires.tell(direction(ONE, OTHER, delay=0.05))
    for text in (b"1", b"2", b"3"):
        wires.send(ONE, OTHER, text)
    assert [wires.received(OTHER) for _ in range(3)] == [b"1", b"2", b"3"]


def test_packets_to_a_host_that_is_gone_are_dropped(wires: Wires) -> None:
    wires.tell({"detach": OTHER})
    wires.send(ONE, OTHER, b"lost")
    wires.send(ONE, ONE, b"still forwards")
    assert wires.received(ONE) == b"still forwards"
