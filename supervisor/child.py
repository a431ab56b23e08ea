"""Start one process of the farm in its own process group, read its output, and end it with all its descendants."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.child_python import child_environment
from supervisor.part_forks import ForkedPart, PartForks

GUARD = Path(__file__).with_name("parent_guard.py")


@dataclass(frozen=True)
class ChildSpec:
    """A process to run.

    `stop_seconds`: time to end after SIGTERM before it is killed. Children of a later `stop_stage` get SIGTERM after
    those of earlier stages have ended. A child that `waits_for_api` starts once the API answers. Output of a `quiet` child
    goes only to its log file. `repair` is called with the last lines of a child that ended by itself, before its
    restart; it returns a line for the log when it did something. A child `on_demand` may end with exit code 0 when it has
    nothing to do; it starts again when it is wanted. `part`: what PartForks runs in place of `command`.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    part: str = ""
    stop_seconds: float = 10.0
    stop_stage: int = 0
    waits_for_api: bool = False
    quiet: bool = False
    on_demand: bool = False
    repair: Callable[[Sequence[str]], str | None] | None = None


LAST_LINES = 500
_CHANGES = os.WSTOPPED | os.WCONTINUED


class Child:
    """A running or ended process. Start it from the main thread: the kernel kills it when its starting thread ends."""

    def __init__(
        self,
        spec: ChildSpec,
        on_line: Callable[[ChildSpec, str], None],
        on_exit: Callable[[Child], None],
        on_stop: Callable[[Child], None] = lambda _: None,
        forks: PartForks | None = None,
    ) -> None:
        self.spec = spec
        self._is_stopped = False
        self.started_at = time.monotonic()
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._on_line = on_line
        self._on_exit = on_exit
        self._on_stop = on_stop
        environment = {**child_environment(), "PYTHONUNBUFFERED": "1", **spec.environment}
        forked = forks.start(spec.part, environment) if forks is not None and spec.part else None
        self._process: ForkedPart | subprocess.Popen[str] = forked or _spawn(spec.command, environment)
        self._reader = threading.Thread(target=self._read, name=f"log-{spec.name}", daemon=True)
        self._reader.start()
        threading.Thread(target=self._wait, name=f"wait-{spec.name}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def uptime_seconds(self) -> float:
        return time.monotonic() - self.started_at

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    @property
    def is_stopped(self) -> bool:
        """Whether a signal such as SIGSTOP has stopped the process and none has continued it.

        A machine that sleeps, and a container that is paused, freeze their processes in another way, which is not seen here.
        """
        if not self._is_stopped:
            return False
        try:
            return os.waitid(os.P_PID, self.pid, os.WCONTINUED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:  # it has ended meanwhile
            return False

    def how_it_ended(self) -> str:
        """Return `ended with exit code 1` or `was killed by SIGKILL`."""
        code = self._process.returncode
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    def terminate(self) -> None:
        """Send SIGTERM; a worker takes a second one as a request to stop at once."""
        if self.running:
            self._process.terminate()

    def kill(self) -> None:
        """Kill the process and everything it started."""
        if self.running:
            self._kill_group()

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 -- a pipe was asked for
        with contextlib.suppress(ValueError, OSError), self._process.stdout as stream:
            for line in stream:  # universal newlines: the \r of a progress bar ends a line too
                if line.strip():
                    self.last_lines.append(line.rstrip())
                    self._on_line(self.spec, line.rstrip())

    def _wait(self) -> None:
        # Kill the group before its leader is reaped: until then the kernel cannot give its id to another process.
        while (change := os.waitid(os.P_PID, self.pid, _CHANGES | os.WEXITED | os.WNOWAIT)) is not None:
            if change.si_code not in (os.CLD_STOPPED, os.CLD_CONTINUED, os.CLD_TRAPPED):
                break
            self._is_stopped = change.si_code == os.CLD_STOPPED
            os.waitid(os.P_PID, self.pid, _CHANGES | os.WNOHANG)  # else the next call would report it again
            if self._is_stopped:
                self._on_stop(self)
        self._kill_group()
        self._process.wait()
        self._reader.join(timeout=2)  # its last lines before its end
        self._on_exit(self)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def _spawn(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), *command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
