"""A process that imports modules once, then forks one process per request: `python -m tests.servers.fork_server FD [PID]`.

It has a single thread, as forking requires. A process in between waits for each of its children and reports its status.
FD is a connection on which requests come; with PID, a listening socket, for which connections are accepted until that
process has ended.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn, TypedDict

MAX_REQUEST_BYTES, MAX_FDS = 1 << 20, 16
FIRST_MOVED = 500
"""Received descriptors move here before they get the numbers that the request names."""


class Request(TypedDict):
    """A module to run as `__main__`. `numbers`: of the descriptors sent along, in the new process."""

    module: str
    arguments: list[str]
    imports: list[str]
    environment: dict[str, str]
    directory: str
    numbers: list[int]


def serve(control: socket.socket) -> None:
    """Start what is requested until the other end of `control` is closed."""
    while _answer(control, [control]):
        pass


def serve_all(listener: socket.socket, owner: int) -> None:
    """Start what is requested on all connections to `listener` until the process `owner` has ended."""
    ended = os.pidfd_open(owner)
    connections: dict[int, socket.socket] = {}
    while True:
        readable, _, _ = select.select([ended, listener.fileno(), *connections], [], [])
        if ended in readable:
            return
        for fd in connections.keys() & readable:
            if not _answer(connections[fd], [listener, *connections.values()]):
                connections.pop(fd).close()
        if listener.fileno() in readable:
            accepted, _ = listener.accept()
            connections[accepted.fileno()] = accepted


def _answer(connection: socket.socket, ours: Sequence[socket.socket]) -> bool:
    """Start what the next request names, without `ours`; False if the connection is closed.

    The first descriptor of a request is for pid and status.
    """
    try:
        content, fds, _, _ = socket.recv_fds(connection, MAX_REQUEST_BYTES, MAX_FDS)
    except ConnectionResetError:
        return False
    if not content:
        return False
    request: Request = json.loads(content)
    for name in request["imports"]:
        if name not in sys.modules:
            importlib.import_module(name)
            gc.freeze()  # Collections in children then leave shared pages as they are.
    if os.fork() == 0:
        for each in ours:
            each.close()
        _start_and_report(request, fds)
    for fd in fds:
        os.close(fd)
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return True


def _start_and_report(request: Request, fds: Sequence[int]) -> NoReturn:
    child = os.fork()
    if child == 0:
        _run(request, fds)
    status = os.fdopen(fds[0], "wb", buffering=0)
    for fd in fds[1:]:
        os.close(fd)
    with suppress(BrokenPipeError):
        status.write(b"%d\n" % child)
        _, waited = os.waitpid(child, 0)
        status.write(b"%d\n" % os.waitstatus_to_exitcode(waited))
    os._exit(0)


def _run(request: Request, fds: Sequence[int]) -> NoReturn:
    code = 1
    try:
        _take_descriptors(request["numbers"], fds[1:])
        _open_streams()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(request["directory"])
        os.environ.clear()
        os.environ.update(request["environment"])
        _read_environment()
        sys.argv = [request["module"], *request["arguments"]]
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)  # noqa: T201 - as the interpreter does
        else:
            code = int(ended.code or 0)
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
    finally:
        _finish(code)


def _read_environment() -> None:
    """Read again what was read when this interpreter started, as far as that is possible."""
    tempfile.tempdir = None
    if encoding := os.environ.get("PYTHONIOENCODING"):
        for stream, errors in ((sys.stdout, "strict"), (sys.stderr, "backslashreplace")):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding=encoding, errors=errors)


def _take_descriptors(numbers: Sequence[int], fds: Sequence[int]) -> None:
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_MOVED) for fd in fds]
    os.closerange(3, FIRST_MOVED)
    for number, fd in zip(numbers, moved, strict=True):
        os.dup2(fd, number)
        os.close(fd)


def _open_streams() -> None:
    """Open them as the interpreter does: those of the server take a pipe for a file in which they can seek."""
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - of the descriptor
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115


def _finish(code: int) -> NoReturn:
    """End as the interpreter does: wait for threads, run exit functions, flush."""
    with suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    given = socket.socket(fileno=int(sys.argv[1]))
    if len(sys.argv) > 2:
        serve_all(given, int(sys.argv[2]))
    else:
        serve(given)
