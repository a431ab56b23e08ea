"""Start a worker's engine before the worker's own modules are imported: the two imports then run at the same time."""

from __future__ import annotations

import importlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from core.child_python import child_environment, module_command
from core.process_title import show_as
from core.queue import UPSCALE

if TYPE_CHECKING:
    from core.settings import Settings

MODULE = "worker.engine"
IMPORT_OPTION = "--import"
"""Makes an engine import its libraries before its first message."""
_PROCESS_MODULE = "worker.engine.process"
_NEVER_FORKED = frozenset({"torch", "huggingface_hub"})
"""Modules that a fork must not find imported: of CUDA, and of settings that an engine makes before it imports them."""


class ForkedEngine:
    """An engine that this process has forked. Has what is used of `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._end = os.pidfd_open(pid)
        self._lock = threading.Lock()
        self._code: int | None = None

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        with self._lock:
            if self._code is None:
                os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code, or minus the number of the signal that ended it. Raises subprocess.TimeoutExpired."""
        if self._code is None and not self._ends_within(timeout):
            raise subprocess.TimeoutExpired(MODULE, timeout or 0.0)
        with self._lock:
            if self._code is None:
                _, status = os.waitpid(self.pid, 0)
                self._code = os.waitstatus_to_exitcode(status)
            return self._code

    def _ends_within(self, seconds: float | None) -> bool:
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        return bool(poll.poll(None if seconds is None else max(seconds, 0.0) * 1000))


@dataclass
class EarlyEngine:
    """An engine that waits for its first message, and this process's end of its socket pair."""

    process: subprocess.Popen[bytes] | ForkedEngine
    end: socket.socket


_waiting: list[EarlyEngine] = []


def start_early(settings: Settings) -> None:
    """Start the engine that a worker of these settings will want first, unless it needs none or torch's compiler.

    It ends when this process ends without using it. Where possible it is forked: it then has the interpreter and what it
    shares with its worker at once.
    """
    if settings.model == UPSCALE or settings.renderer == "synthetic" or settings.compile_blocks == "on":
        return
    ours, theirs = socket.socketpair()
    with theirs:
        _waiting.append(EarlyEngine(_fork(theirs.fileno()) if _can_fork() else _spawn(theirs.fileno()), ours))


def take_early(module: str) -> EarlyEngine | None:
    """Return the engine that was started early, once; None when there is none or another module is wanted."""
    return _waiting.pop() if _waiting and module == MODULE else None


def _can_fork() -> bool:
    if sys.platform != "linux" or threading.active_count() > 1 or _NEVER_FORKED & sys.modules.keys():
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:  # an old kernel
        return False
    return True


def _spawn(fd: int) -> subprocess.Popen[bytes]:
    command = module_command(MODULE, str(fd), IMPORT_OPTION)
    return subprocess.Popen(command, pass_fds=[fd], stdin=subprocess.DEVNULL, env=child_environment())


def _fork(fd: int) -> ForkedEngine:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _become_engine(fd)
    return ForkedEngine(pid)


def _become_engine(fd: int) -> NoReturn:
    """Run as `python -P -m worker.engine FD --import` does, and end with its exit status."""
    status = 1
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.closerange(3, fd)
        os.closerange(fd + 1, os.sysconf("SC_OPEN_MAX"))
        show_as("imagefarm engine")
        os.environ.update(child_environment())
        status = importlib.import_module(_PROCESS_MODULE).main([str(fd), IMPORT_OPTION])
    except BaseException:  # noqa: BLE001 -- as the interpreter does
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
