"""The engine's process as its parent sees it: spawn, send, receive, kill, and why it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from worker.engine.exits import MEANINGS
from worker.engine.messages import Channel, Command, Load, Message
from worker.engine.spec import EngineSpec

_ROOT = Path(__file__).resolve().parents[2]
_REAP_SECONDS = 10.0


class EngineProcess:
    """A spawned engine (never forked: CUDA does not survive it), connected by a socket pair."""

    def __init__(self, spec: EngineSpec) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", spec.module, str(theirs.fileno())]
            try:
                self._process = subprocess.Popen(
                    command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=_environment()
                )
            except BaseException:
                ours.close()
                raise
        self._channel = Channel.over(ours)
        with contextlib.suppress(OSError):  # A child that died at once is noticed by receive().
            self.send(Load(spec))

    @property
    def process_id(self) -> int:
        return self._process.pid

    def send(self, message: Command) -> None:
        """Raises OSError when the process is gone."""
        self._channel.send(message)

    def receive(self) -> Message:
        """Blocks; raises EOFError or OSError when the process is gone."""
        return self._channel.receive()

    def kill(self) -> None:
        """At once, from any thread; receive() then raises."""
        self._process.kill()

    def wait(self, seconds: float) -> bool:
        """Whether the process ended within that time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
            return True
        return False

    def reap(self) -> str:
        """Make sure that it is gone, free what it held here, and say how it ended."""
        if not self.wait(_REAP_SECONDS):
            self.kill()
            self._process.wait()
        self._channel.close()
        return _how_it_ended(self._process.returncode)


def _environment() -> dict[str, str]:
    """The parent's, with this package importable whatever the working directory is."""
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _how_it_ended(code: int) -> str:
    if code >= 0:
        meaning = f", {MEANINGS[code]}" if code in MEANINGS else ""
        return f"the engine exited with status {code}{meaning}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"the engine was ended by {name}"
