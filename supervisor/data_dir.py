"""Create the data directory, check that it can be written, and lock it for one running farm."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from supervisor.startup_checks import AlreadyRunning, DataDirUnusable

LOCK_NAME = "imagefarm.lock"


def prepare(data_dir: Path) -> None:
    """Create the directory and its subdirectories. Raises DataDirUnusable when they cannot be written."""
    try:
        for name in ("", "logs", "redis", "images"):
            (data_dir / name).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data_dir):
            pass
    except OSError as error:
        raise DataDirUnusable(
            f"The data directory {data_dir} cannot be written ({error.strerror or error}). "
            "Choose another with --data-dir or IMAGEFARM_DATA_DIR."
        ) from error


class FarmLock:
    """The lock of a running farm; its file names the process and its addresses for a second start.

    The kernel releases the lock when the process ends in any way: a lock is never stale.
    """

    def __init__(self, handle: TextIO, data_dir: Path) -> None:
        self._handle = handle
        self._facts: dict[str, Any] = {"pid": os.getpid(), "data_dir": str(data_dir)}
        self.note()

    def note(self, **facts: str) -> None:
        """Add facts that a second start reports to its user, such as `api="http://..."`."""
        self._facts |= facts
        self._handle.seek(0)
        self._handle.truncate()
        json.dump(self._facts, self._handle)
        self._handle.flush()


@contextmanager
def lock(data_dir: Path) -> Iterator[FarmLock]:
    """Lock the data directory. Raises AlreadyRunning with the process that holds it and its address."""
    with (data_dir / LOCK_NAME).open("a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(_explain_owner(handle, data_dir)) from None
        yield FarmLock(handle, data_dir)


def _explain_owner(handle: TextIO, data_dir: Path) -> str:
    handle.seek(0)
    try:
        facts = json.load(handle)
    except ValueError:
        facts = {}
    where = f" at {facts['api']}" if "api" in facts else ", still starting"
    process = f"process {facts['pid']}" if "pid" in facts else "another process"
    stop = f"`kill {facts['pid']}`" if "pid" in facts else "stop it"
    return (
        f"A farm already runs on {data_dir}: {process}{where}. Use that one, or stop it with Ctrl-C in its terminal "
        f"or {stop}, or start a second farm with another --data-dir, --port and --flower-port."
    )
