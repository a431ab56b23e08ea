"""Fork the parts of a farm from one process that has imported what they share: they start sooner and share its memory."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NoReturn, TextIO, TypedDict

from core.process_title import show_as
from supervisor.database_check import check_and_migrate
from supervisor.parent_guard import end_with_parent
from supervisor.short_process import read_result, run_and_exit

DATABASE_MODULE = "db.database"
SHARED = (DATABASE_MODULE, "celery.app.base", "kombu.transport.redis")
"""Libraries that most parts use. What they import may start no thread: a fork has only the thread that forked."""
PART_MODULE = "cli.part"
PART, DATABASE = "part", "database"
"""Kinds of requests."""
_ROOT = Path(__file__).resolve().parents[1]
_REQUEST_BYTES = 1 << 20
_ANSWER_SECONDS, _ADOPTION_SECONDS = 60.0, 10.0
_PR_SET_CHILD_SUBREAPER = 36
"""An option of prctl(2)."""


class Request(TypedDict):
    """What to fork for: with PART, a part of `cli.part` to run, with DATABASE, the URL of a database to check and migrate.

    `supervisor`: the process whose child it is to be.
    """

    kind: str
    subject: str
    environment: dict[str, str]
    supervisor: int


class ForkedPart:
    """A part that is a child of this process. Has what `Child` uses of `subprocess.Popen`."""

    def __init__(self, pid: int, output: TextIO) -> None:
        self.pid = pid
        self.stdout = output
        self.returncode: int | None = None

    def wait(self) -> int:
        """Wait for its end, on one thread only; return its exit code, or minus the number of the signal that ended it."""
        _, status = os.waitpid(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def terminate(self) -> None:
        """Send SIGTERM."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)


class PartForks:
    """The process from which parts are forked. Create it before the first thread starts; it imports in the meantime.

    Parts that fail later start as interpreters of their own: a farm that was upgraded meanwhile then runs the new code.
    """

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        self._control.settimeout(_ANSWER_SECONDS)
        self._pid: int | None = os.fork()
        if self._pid == 0:
            self._control.close()
            _serve(theirs)
        theirs.close()

    def start(self, part: str, environment: Mapping[str, str]) -> ForkedPart | None:
        """Run the part in a process group of its own; None when that fails, as where the kernel does not let it adopt."""
        request: Request = {"kind": PART, "subject": part, "environment": dict(environment), "supervisor": os.getpid()}
        reader, answer = self._ask(request)
        output = os.fdopen(reader, encoding="utf-8", errors="replace")
        if answer and _is_own_child(int(answer)):
            return ForkedPart(int(answer), output)
        output.close()
        return None

    def prepare_database(self, url: str) -> bool:
        """Return whether the database was checked and migrated in a fork. Raises what `short_process` does."""
        request: Request = {"kind": DATABASE, "subject": url, "environment": {}, "supervisor": os.getpid()}
        reader, answer = self._ask(request)
        if not answer:
            os.close(reader)
            return False
        try:
            return read_result(reader)
        finally:
            with contextlib.suppress(ChildProcessError):  # where the kernel lets this process adopt none
                os.waitpid(int(answer), 0)

    def _ask(self, request: Request) -> tuple[int, bytes]:
        """Return the reading end of what the new process writes, and its id; nothing in place of that when it failed."""
        reader, writer = os.pipe()
        try:
            with _adopting_orphans():
                socket.send_fds(self._control, [json.dumps(request).encode()], [writer])
                return reader, self._control.recv(64)
        except OSError:  # also TimeoutError
            self.close()
            return reader, b""
        finally:
            os.close(writer)

    def close(self) -> None:
        """End the process that forks; the parts run on."""
        self._control.close()
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = None


@contextlib.contextmanager
def forking_parts() -> Iterator[PartForks | None]:
    """Yield forks of parts, where the kernel can make them children of this process; end the process that forks."""
    if sys.platform != "linux":
        yield None
        return
    with contextlib.closing(PartForks()) as forks:
        yield forks


@contextlib.contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Make descendants whose parent ends children of this process, rather than of init. Raises OSError."""
    libc = ctypes.CDLL(None)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("the kernel lets this process adopt none")
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _is_own_child(pid: int) -> bool:
    """Return whether this process can wait for that one; else kill it."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return False
    return True


def _serve(control: socket.socket) -> NoReturn:
    """Import what parts share, then fork one for each request, until the supervisor closes the connection or ends."""
    try:
        os.setpgid(0, 0)  # Ctrl-C in a terminal reaches its foreground group
        gc.disable()  # while parts import; they enable it again
        for name in SHARED:
            importlib.import_module(name)
            if name == DATABASE_MODULE and select.select([control], [], [], 0)[0]:
                _serve_one(control)
        gc.freeze()  # Collections in parts then leave shared pages as they are.
        while threading.active_count() == 1 and _serve_one(control):
            pass
    except BaseException:  # noqa: BLE001 -- reported; parts then start as interpreters of their own
        traceback.print_exc()
    finally:
        os._exit(0)


def _serve_one(control: socket.socket) -> bool:
    """Fork for the next request; return whether there was one."""
    content, outputs, _, _ = socket.recv_fds(control, _REQUEST_BYTES, 1)
    if not content:
        return False
    control.send(b"%d" % _fork_away(json.loads(content), outputs[0]))
    os.close(outputs[0])
    return True


def _fork_away(request: Request, output: int) -> int:
    """Return the id of a new process that does what is asked. Its parent has ended: the supervisor adopts it."""
    reader, writer = os.pipe()
    between = os.fork()
    if between == 0:
        pid = os.fork()
        if pid == 0 and request["kind"] == DATABASE:
            os.close(writer)  # of which the process that forks waits for the end
            run_and_exit(partial(check_and_migrate, request["subject"]), output)
        if pid == 0:
            _become(request, output)
        os.setpgid(pid, pid)
        os.write(writer, b"%d" % pid)
        os._exit(0)
    os.close(writer)
    os.waitpid(between, 0)
    with os.fdopen(reader, "rb") as pipe:
        return int(pipe.read())


def _become(request: Request, output: int) -> NoReturn:
    """Run the part as an interpreter of its own would, `python -P -m cli.part PART`, and end with its exit code."""
    code = 1
    atexit._clear()
    try:
        _wait_until_adopted(request["supervisor"])
        end_with_parent(request["supervisor"])
        _take_streams(output)
        show_as(f"imagefarm {request['subject']}")
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(request["environment"])
        if not sys.flags.safe_path:  # then the first entry may be the current directory
            sys.path[0] = str(_ROOT)
        part = importlib.import_module(PART_MODULE)
        code = part.main(request["subject"])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001 -- as the interpreter does
        traceback.print_exc()
    finally:
        _finish(code)


def _wait_until_adopted(supervisor: int) -> None:
    """Wait until this process is a child of the supervisor."""
    give_up = time.monotonic() + _ADOPTION_SECONDS
    while os.getppid() != supervisor:
        if time.monotonic() > give_up:
            os._exit(1)  # the supervisor has ended
        time.sleep(0.001)


def _take_streams(output: int) -> None:
    """Read from nothing, print to `output` without a buffer, and close all other descriptors."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, fd in enumerate((nothing, output, output)):
        os.dup2(fd, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 -- of the descriptor
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        stream.reconfigure(write_through=True)
        setattr(sys, name, stream)


def _finish(code: int) -> NoReturn:
    """End as the interpreter does: wait for threads, run exit functions, flush."""
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
