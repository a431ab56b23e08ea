"""Choose a worker's name and lock it on this machine, so that no two live workers have one name.

A lock is held as long as the process lives, and the kernel releases it at any end. Its file lists the incarnations that
held it: a restarted worker takes over the jobs of those at once, because they cannot be alive. Between machines, which
share no locks, the heartbeat in the database decides.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from core.settings import Settings
from db.workers import NameInUse
from worker.runner.worker_state import WorkerIdentity, worker_name

logger = logging.getLogger(__name__)

MOST_NAMES = 64
"""Names that are tried for a worker without a name of its own."""
_KEPT = 16


@dataclass
class NameLock:
    """A worker's identity, with the incarnations that it may take over at once; `file` is None where none can be kept."""

    identity: WorkerIdentity
    predecessors: frozenset[str] = frozenset()
    file: TextIO | None = None

    def release(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None


def lock_names(settings: Settings) -> Iterator[NameLock]:
    """Yield locks of names that are free on this machine, best first; the caller releases those that it does not keep.

    That is one name when the settings give it, else host and device, then the same with -2, -3 and so on. Raises
    NameInUse when there is no more.
    """
    name, is_given = worker_name(settings), bool(settings.worker_name)
    names = [name] if is_given else [name, *(f"{name}-{number}" for number in range(2, MOST_NAMES + 1))]
    for each in names:
        if (lock := _lock(settings.data_dir / "workers", WorkerIdentity(each))) is not None:
            yield lock
    raise name_taken(name)


def name_taken(name: str) -> NameInUse:
    """Return the error for a name that a live worker has."""
    return NameInUse(
        f"A live worker is named '{name}'. Give this one another name with --name or IMAGEFARM_WORKER_NAME, or stop the "
        "other one; if it was killed on another machine, its name is free 20 seconds later."
    )


def _lock(folder: Path, identity: WorkerIdentity) -> NameLock | None:
    """Return the lock; None when a live process holds it. Where no file can be kept, the heartbeat alone must decide."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / f"{identity.name}.lock").open("a+", encoding="utf-8")
    except OSError as error:
        logger.warning("cannot lock the worker's name in the data directory: %s", error.strerror or error)
        return NameLock(identity)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError as error:
        logger.warning("the data directory's file system has no locks: %s", error.strerror or error)
        file.close()
        return NameLock(identity)
    known = _read(file)
    _write(file, [*known, identity.incarnation][-_KEPT:])
    return NameLock(identity, frozenset(known), file)


def _read(file: TextIO) -> list[str]:
    """Return the incarnations that held the lock since this machine's kernel started; others may have been elsewhere."""
    file.seek(0)
    try:
        facts: Any = json.load(file)
        return [str(each) for each in facts["incarnations"]] if facts["boot"] == _boot() else []
    except (ValueError, KeyError, TypeError, OSError):
        return []


def _write(file: TextIO, incarnations: list[str]) -> None:
    try:
        file.seek(0)
        file.truncate()
        json.dump({"pid": os.getpid(), "boot": _boot(), "incarnations": incarnations}, file)
        file.flush()
    except OSError as error:
        logger.warning("cannot note this worker's start in the data directory: %s", error.strerror or error)


def _boot() -> str:
    """Return an id of the running kernel: two containers on one machine share locks, two machines do not."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""
