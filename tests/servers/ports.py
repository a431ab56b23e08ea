"""Loopback ports that no other test process uses, and waiting until something listens on one."""

from __future__ import annotations

import fcntl
import itertools
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

FIRST_PORT, LAST_PORT = 20000, 31999
"""Below the range from which Linux takes ports for outgoing connections (32768 to 60999 by default)."""
BLOCK_SIZE = 200


def free_port() -> int:
    """Return a loopback port that nothing listens on and that this process has not returned lately.

    The port comes from a block that this process alone holds, so parallel test processes never share one, and a server
    that is killed and started again on its port finds it free.
    """
    for port in itertools.islice(_ports(), BLOCK_SIZE):
        if _is_free(port):
            return port
    raise RuntimeError(f"all {BLOCK_SIZE} ports of this process's block are in use")


@cache
def _ports() -> Iterator[int]:
    return itertools.cycle(_claim_block())


def _claim_block() -> range:
    """Lock a block for the rest of this process's life; the kernel unlocks it when the process ends."""
    directory = Path(tempfile.gettempdir()) / f"imagefarm-test-ports-{os.geteuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    for start in range(FIRST_PORT, LAST_PORT + 1, BLOCK_SIZE):
        handle = os.open(directory / f"{start}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
        else:
            return range(start, start + BLOCK_SIZE)
    raise RuntimeError(f"all blocks of test ports are locked by running processes; see {directory}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
        return True


def wait_listening(port: int, process: subprocess.Popen[bytes], seconds: float = 120.0) -> None:
    """Return once 127.0.0.1:`port` accepts; raise RuntimeError when `process` ends or the time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with exit code {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"nothing listened on port {port} within {seconds} s")
