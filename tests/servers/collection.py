"""A process that collects tests once, then forks those of pytest-xdist: `-m tests.servers.collection FD FD PID WORDS`.

Each of them else imports torch, diffusers and all test modules, 20 seconds of CPU time. It still collects its tests, whose
modules it then finds imported. A run of all tests also needs the fork server of engines, whose imports take most of these
seconds: it is forked before the collection. The first FD and PID are those of tests.servers.fork_server, the second FD is
the listening socket of engines or 0, WORDS are pytest's arguments.
"""

from __future__ import annotations

import gc
import importlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers.fork_server import serve_all
from tests.servers.forks import ENGINE_IMPORTS, ENGINES, FIXED, shared_name

ROOT = Path(__file__).resolve().parents[2]
CUDA_DEVICE = Path("/dev/nvidiactl")
started: list[subprocess.Popen[bytes]] = []
"""They end with this process."""


def names_tests(arguments: Sequence[str]) -> bool:
    """Return whether arguments of pytest name files or folders: those may need no engine."""
    return any(Path(each.partition("::")[0]).exists() for each in arguments)


def start_collection(arguments: Sequence[str], run: str) -> str | None:
    """Start that process, which ends with this one, and return the command of an interpreter that it forks.

    `run`: the id that pytest-xdist gives the run. None on a machine with a CUDA device: test modules ask for it, and no
    process that is forked then can use it.
    """
    if CUDA_DEVICE.exists():
        return None
    name = f"imagefarm-collection-{os.getpid()}"
    addresses = [name] if names_tests(arguments) else [name, shared_name(run, ENGINES)]
    with ExitStack() as stack:
        fds = [stack.enter_context(_listening(address)).fileno() for address in addresses]
        numbers = map(str, [*fds, 0][:2])
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, *numbers, str(os.getpid()), *arguments],
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=os.environ | FIXED | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        )
        started.append(process)
    return shlex.join([sys.executable, "-P", str(Path(__file__).with_name("forked_interpreter.py")), name])


def _listening(name: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"\0{name}")
    listener.listen()
    return listener


def main() -> None:
    """Collect, then fork. What pytest says about the collection, it says again in each forked process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tests, engines, owner = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
    if engines:
        _fork_engine_server(tests, engines, owner)
    # -s: modules that keep sys.stderr when they are imported would else have a file that is closed after the collection.
    pytest.main([*sys.argv[4:], "-n0", "--dist=no", "--collect-only", "-qq", "-s"])
    gc.freeze()
    serve_all(tests, owner)


def _fork_engine_server(tests: socket.socket, fd: int, owner: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as in the collection, which finds these modules imported
        for name in ENGINE_IMPORTS:
            importlib.import_module(name)
    # It brings a plugin of pytest, which else warns that it can no longer rewrite the plugin's assertions.
    sys.modules["anyio"].__doc__ = "PYTEST_DONT_REWRITE"
    with socket.socket(fileno=fd) as engines:
        if os.fork() == 0:
            tests.close()
            gc.freeze()
            serve_all(engines, owner)
            os._exit(0)


if __name__ == "__main__":
    main()
