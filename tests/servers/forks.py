"""Python modules as processes that are forked from one in which the heavy libraries are imported already.

Each starts in milliseconds, where an interpreter that imports torch takes five seconds of CPU time, and is otherwise like
a spawned one: it has its own pid, signals, directory, environment, descriptors and exit status. Variables that an
interpreter reads when it starts, such as LC_ALL and PYTHONUTF8, have no effect on it, apart from PYTHONIOENCODING: tests of
those spawn one. Under pytest-xdist all processes of a run share those from which they fork.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from tests.servers.fork_server import Request

ROOT = Path(__file__).resolve().parents[2]
ENGINE_IMPORTS = ("tests.servers.engine_imports",)
CLI_IMPORTS = ("tests.servers.cli_imports",)
ENGINES = "engines"
"""Name of the fork server of engines."""
FIXED = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}
"""Environment of fork servers."""
shared_servers: list[subprocess.Popen[bytes]] = []
"""Those that this process has started; they end with the run."""


class ForkedProcess:
    """Has what callers use of `subprocess.Popen`."""

    def __init__(self, status_fd: int, command: Sequence[str]) -> None:
        self._command = list(command)
        self._status = os.fdopen(status_fd, "rb")
        first = self._status.readline()
        if not first:
            self._status.close()
            raise RuntimeError("the fork server has ended; its error output says why")
        self.pid = int(first)
        self.returncode: int | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._read, name=f"fork-{self.pid}", daemon=True).start()

    def poll(self) -> int | None:
        """Return the exit status, None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status; TimeoutExpired after `timeout` seconds."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(self._command, timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        """Kill it unless it has ended."""
        if not self._ended.is_set():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _read(self) -> None:
        with self._status:
            self.returncode = int(self._status.readline() or -signal.SIGKILL)
        self._ended.set()


class ForkServer:
    """The process that forks, by a connection to it. `process`: ends when the connection does."""

    def __init__(self, control: socket.socket, process: subprocess.Popen[bytes] | None = None) -> None:
        self._lock = threading.Lock()
        self._control, self._process = control, process

    def fileno(self) -> int:
        """Return the descriptor of the connection, for `ForkServer` in another process."""
        return self._control.fileno()

    def start(
        self,
        module: str,
        *arguments: str,
        imports: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        directory: Path = ROOT,
        fds: Mapping[int, int] | None = None,
    ) -> ForkedProcess:
        """Run `python -m module arguments`. `fds`: its number of a descriptor -> this process's. `imports`: made before."""
        fds = fds or {}
        request: Request = {
            "module": module,
            "arguments": list(arguments),
            "imports": list(imports),
            "environment": dict(os.environ if environment is None else environment),
            "directory": str(directory),
            "numbers": list(fds),
        }
        ours, theirs = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._control, [json.dumps(request).encode()], [theirs, *fds.values()])
        finally:
            os.close(theirs)
        return ForkedProcess(ours, [module, *arguments])

    def close(self) -> None:
        """Close the connection, and wait for the process that then ends; those that it forked run on."""
        self._control.close()
        if self._process is not None:
            self._process.wait()


@cache
def fork_server() -> ForkServer:
    """Return this process's fork server, which starts at the first call."""
    return connect_fork_server(ENGINES)


def connect_fork_server(name: str) -> ForkServer:
    """Return the server of this name, which all processes of a run with pytest-xdist share; else a new one."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            server = ForkServer(control, _start_server(theirs))
    else:
        server = ForkServer(_connect(f"\0{shared_name(run, name)}"))
    atexit.register(server.close)
    return server


def shared_name(run: str, name: str) -> str:
    """Return the abstract address of the fork server that all processes of a run with pytest-xdist share."""
    return f"imagefarm-{run}-{name}"


def _connect(address: str) -> socket.socket:
    """Return a connection to the server with this address; whoever gets the address starts the server."""
    while True:
        control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            control.connect(address)
        except ConnectionRefusedError:  # no server, or one that does not listen yet
            control.close()
        else:
            return control
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            try:
                listener.bind(address)
            except OSError:
                time.sleep(0.01)
                continue
            listener.listen()
            shared_servers.append(_start_server(listener, str(os.getppid())))


def _start_server(given: socket.socket, *owner: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.servers.fork_server", str(given.fileno()), *owner],
        pass_fds=[given.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=os.environ | FIXED,
    )


def start_engine_fork(module: str, fd: int, environment: dict[str, str]) -> ForkedProcess:
    """Start an engine process; see worker.engine.client.EngineClient."""
    return fork_server().start(module, str(fd), imports=ENGINE_IMPORTS, environment=environment, fds={fd: fd})


def run_fork(
    module: str, *arguments: str, imports: Sequence[str], environment: Mapping[str, str], cwd: Path, timeout: float = 300.0
) -> subprocess.CompletedProcess[str]:
    """Run `python -m module arguments` to its end, as `subprocess.run` with captured output would."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors, Path(os.devnull).open() as nothing:
        fds = {0: nothing.fileno(), 1: output.fileno(), 2: errors.fileno()}
        process = fork_server().start(module, *arguments, imports=imports, environment=environment, directory=cwd, fds=fds)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess([module, *arguments], code, output.read().decode(), errors.read().decode())
