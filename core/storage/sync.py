"""Make a file and the names of it and its folders durable together: one after the other, each waits for the disk."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path

HELPERS = 4
"""Folders above a file of a farm's store, if all are new."""


def sync_directory(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class JointSync:
    """Has threads that sync folders for one caller at a time. Thread-safe.

    Callers that come meanwhile sync one after the other: where there are many, the disk commits for several of them at once.
    """

    def __init__(self) -> None:
        self._free = threading.Lock()
        self._folders: queue.SimpleQueue[Path] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()
        for number in range(HELPERS):
            threading.Thread(target=self._run, name=f"folder-sync-{number}", daemon=True).start()

    def sync(self, descriptor: int | None, folders: Sequence[Path]) -> None:
        """Return once the file, if any, and the names in the folders are durable. Raises OSError."""
        if not self._free.acquire(blocking=False):
            _sync_in_turn(descriptor, folders)
            return
        try:
            self._sync_together(descriptor, folders)
        finally:
            self._free.release()

    def _sync_together(self, descriptor: int | None, folders: Sequence[Path]) -> None:
        for folder in folders:
            self._folders.put(folder)
        try:
            if descriptor is not None:
                os.fsync(descriptor)
        finally:
            errors = [error for _ in folders if (error := self._done.get()) is not None]
        if errors:
            raise errors[0]

    def _run(self) -> None:
        while True:
            folder = self._folders.get()
            try:
                sync_directory(folder)
            except OSError as error:
                self._done.put(error)
            else:
                self._done.put(None)


def _sync_in_turn(descriptor: int | None, folders: Sequence[Path]) -> None:
    if descriptor is not None:
        os.fsync(descriptor)
    for folder in folders:
        sync_directory(folder)


def joint_sync() -> JointSync:
    """Return the one of this process, which starts its threads: a forked child has no threads of its parent."""
    return _of_process(os.getpid())


@cache
def _of_process(process_id: int) -> JointSync:
    return JointSync()
