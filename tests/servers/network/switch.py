"""A switch in user space: forwards IP packets between TUN devices, and cuts, delays or loses them by direction.

It needs neither a bridge nor netem or a packet filter in the kernel. A cut drops packets silently, as a broken cable does.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import selectors
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass

LARGEST_PACKET = 65535
BURST = 64
"""Packets that are read from one device before the others have their turn."""


@dataclass(frozen=True)
class Direction:
    """What happens to packets from one host to another. `delay`: seconds; `loss`: share of packets, 1 is a cut."""

    delay: float = 0.0
    loss: float = 0.0


class Switch:
    """Forwards until the control socket closes. A message on it attaches a device, or sets what a direction does."""

    def __init__(self, control: socket.socket, seed: int = 1) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._devices: dict[bytes, int] = {}
        self._directions: dict[tuple[bytes, bytes], Direction] = {}
        self._late: list[tuple[float, int, bytes, bytes]] = []
        self._sent = 0
        self._random = random.Random(seed)

    def serve(self) -> None:
        """Serve until the control socket closes, then close the devices."""
        try:
            self._serve()
        finally:
            for address, fd in list(self._devices.items()):
                self._detach(fd, address)
            self._selector.close()

    def _serve(self) -> None:
        self._selector.register(self._control, selectors.EVENT_READ)
        while True:
            wait = max(self._late[0][0] - time.monotonic(), 0.0) if self._late else None
            for key, _ in self._selector.select(wait):
                if key.fileobj is not self._control:
                    if self._devices.get(key.data) == key.fd:  # else this round has detached it
                        self._read(key.fd, key.data)
                elif not self._handle_control():
                    return
            self._send_late()

    def _handle_control(self) -> bool:
        message, fds, _, _ = socket.recv_fds(self._control, 65536, 1)
        if not message:
            return False
        given = json.loads(message)
        if fds:
            self._attach(socket.inet_aton(given["attach"]), fds[0])
        elif "detach" in given:
            address = socket.inet_aton(given["detach"])
            if address in self._devices:
                self._detach(self._devices[address], address)
        else:
            pair = (socket.inet_aton(given["from"]), socket.inet_aton(given["to"]))
            self._directions[pair] = Direction(given["delay"], given["loss"])
        self._control.send(b"1")  # The caller knows that it is in force.
        return True

    def _attach(self, address: bytes, fd: int) -> None:
        os.set_blocking(fd, False)
        self._devices[address] = fd
        self._selector.register(fd, selectors.EVENT_READ, address)

    def _read(self, fd: int, source: bytes) -> None:
        for _ in range(BURST):
            try:
                packet = os.read(fd, LARGEST_PACKET)
            except BlockingIOError:
                return
            except OSError:  # Its host, and with it the device, is gone.
                self._detach(fd, source)
                return
            if packet and packet[0] >> 4 == 4:
                self._forward(packet, source, packet[16:20])

    def _detach(self, fd: int, address: bytes) -> None:
        self._selector.unregister(fd)
        os.close(fd)
        if self._devices.get(address) == fd:
            del self._devices[address]

    def _forward(self, packet: bytes, source: bytes, target: bytes) -> None:
        found = self._directions.get((source, target))
        if found is None:
            self._write(packet, target)
        elif found.loss and self._random.random() < found.loss:
            return
        elif found.delay:
            self._sent += 1
            heapq.heappush(self._late, (time.monotonic() + found.delay, self._sent, packet, target))
        else:
            self._write(packet, target)

    def _send_late(self) -> None:
        while self._late and self._late[0][0] <= time.monotonic():
            _, _, packet, target = heapq.heappop(self._late)
            self._write(packet, target)

    def _write(self, packet: bytes, target: bytes) -> None:
        fd = self._devices.get(target)
        if fd is not None:
            with suppress(OSError):  # A full queue or a host that is gone loses the packet.
                os.write(fd, packet)


if __name__ == "__main__":
    Switch(socket.socket(fileno=int(sys.argv[1]))).serve()
