"""Make a file and its name in the folder durable at the same time: one after the other costs the disk two commits."""

from __future__ import annotations

import os
import queue
import threading
from functools import cache
from pathlib import Path


def sync_directory(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SecondSync:
    """Has a thread that syncs folders for one caller at a time. Thread-safe.

    Callers that come meanwhile sync one after the other: where there are many, the disk commits for several of them at once.
    """

    def __init__(self) -> None:
        self._free = threading.Lock()
        self._folders: queue.SimpleQueue[Path] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="folder-sync", daemon=True).start()

    def sync(self, descriptor: int | None, folder: Path) -> None:
        """Return once the file, if any, and the names in the folder are durable. Raises OSError."""
        if descriptor is None:
            sync_directory(folder)
        elif self._free.acquire(blocking=False):
            try:
                self._sync_both(descriptor, folder)
            finally:
                self._free.release()
        else:
            os.fsync(descriptor)
            sync_directory(folder)

    def _sync_both(self, descriptor: int, folder: Path) -> None:
        self._folders.put(folder)
        try:
            os.fsync(descriptor)
        finally:
            error = self._done.get()
        if error is not None:
            raise error

    def _run(self) -> None:
        while True:
            folder = self._folders.get()
            try:
                sync_directory(folder)
            except OSError as error:
                self._done.put(error)
            else:
                self._done.put(None)


def second_sync() -> SecondSync:
    """Return the one of this process, which starts its thread: a forked child has no thread of its parent."""
    return _of_process(os.getpid())


@cache
def _of_process(process_id: int) -> SecondSync:
    return SecondSync()
