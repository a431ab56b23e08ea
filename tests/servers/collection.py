"""A process that collects tests once, then forks those of pytest-xdist: `python -m tests.servers.collection FD PID WORDS`.

Each of them else imports torch, diffusers and all test modules, 20 seconds of CPU time. It still collects its tests, whose
modules it then finds imported. FD and PID are those of tests.servers.fork_server, WORDS are pytest's arguments.
"""

from __future__ import annotations

import gc
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.servers.fork_server import serve_all

ROOT = Path(__file__).resolve().parents[2]
CUDA_DEVICE = Path("/dev/nvidiactl")
started: list[subprocess.Popen[bytes]] = []
"""They end with this process."""


def start_collection(arguments: Sequence[str]) -> str | None:
    """Start that process, which ends with this one, and return the command of an interpreter that it forks.

    None on a machine with a CUDA device: test modules ask for it, and no process that is forked then can use it.
    """
    if CUDA_DEVICE.exists():
        return None
    name = f"imagefarm-collection-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(listener.fileno()), str(os.getpid()), *arguments],
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        )
        started.append(process)
    return shlex.join([sys.executable, "-P", str(Path(__file__).with_name("forked_interpreter.py")), name])


def main() -> None:
    """Collect, then fork. What pytest says about the collection, it says again in each forked process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = socket.socket(fileno=int(sys.argv[1]))
    # -s: modules that keep sys.stderr when they are imported would else have a file that is closed after the collection.
    pytest.main([*sys.argv[3:], "-n0", "--dist=no", "--collect-only", "-qq", "-s"])
    gc.freeze()
    serve_all(listener, int(sys.argv[2]))


if __name__ == "__main__":
    main()
