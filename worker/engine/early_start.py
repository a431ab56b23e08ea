"""Start a worker's engine before the worker's own modules are imported: the two imports then run at the same time."""

from __future__ import annotations

import socket
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.child_python import child_environment, module_command
from core.queue import UPSCALE

if TYPE_CHECKING:
    from core.settings import Settings

MODULE = "worker.engine"
IMPORT_OPTION = "--import"
"""Makes an engine import its libraries before its first message."""


@dataclass
class EarlyEngine:
    """An engine that waits for its first message, and this process's end of its socket pair."""

    process: subprocess.Popen[bytes]
    end: socket.socket


_waiting: list[EarlyEngine] = []


def start_early(settings: Settings) -> None:
    """Start the engine that a worker of these settings will want first, unless it needs none or torch's compiler.

    It ends when this process ends without using it.
    """
    if settings.model == UPSCALE or settings.renderer == "synthetic" or settings.compile_blocks == "on":
        return
    ours, theirs = socket.socketpair()
    with theirs:
        command = module_command(MODULE, str(theirs.fileno()), IMPORT_OPTION)
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=child_environment())
    _waiting.append(EarlyEngine(process, ours))


def take_early(module: str) -> EarlyEngine | None:
    """Return the engine that was started early, once; None when there is none or another module is wanted."""
    return _waiting.pop() if _waiting and module == MODULE else None
