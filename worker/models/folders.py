"""Write folders atomically (draft, marker, rename) and check disk space before writing."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.catalogue import CatalogueModel
from core.catalogue.model_folder import Marker, read_marker, size_of, write_marker
from core.errors import Conflict
from core.ids import new_id
from worker.device.machine import DTYPE_BYTES, GIGABYTE

ABANDONED_AFTER_SECONDS = 86_400.0
"""Age at which a draft counts as abandoned where the disk does not support locks."""
LOCK_GRACE_SECONDS = 5.0
"""A draft younger than this may not be locked by its process yet."""
SPARE_BYTES = GIGABYTE // 2
"""Disk space left free after a write."""


@dataclass(frozen=True)
class Contents:
    """Metadata of the folder to write; see `core.catalogue.model_folder.Marker`."""

    model: str
    origin: Literal["built", "hub", "folder"]
    source: str
    dtype: str
    revision: str | None = None


@contextmanager
def atomic_folder(final: Path, contents: Contents) -> Iterator[Path]:
    """Yield an empty folder to fill; on success it replaces `final`, on an error nothing changes.

    Two processes may do this at once: the first to finish wins, since others may read its files already.
    """
    before = read_marker(final)
    draft = final.parent / f".{final.name}.{new_id()}.part"
    draft.mkdir(parents=True)
    lock = os.open(draft, os.O_RDONLY)  # Released with its process, however that ends.
    try:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)  # Waits for a process that tests whether the draft is abandoned.
        yield draft
        write_marker(draft, _marker(draft, contents))
        _put_in_place(draft, final, before)
    finally:
        os.close(lock)
        shutil.rmtree(draft, ignore_errors=True)


def _marker(draft: Path, contents: Contents) -> Marker:
    return Marker(
        model=contents.model,
        origin=contents.origin,
        source=contents.source,
        revision=contents.revision,
        dtype=contents.dtype,
        size_bytes=size_of(draft),
        made_at=time.time(),
    )


def _put_in_place(draft: Path, final: Path, before: Marker | None) -> None:
    """Rename the draft, moving an old folder aside, unless another process has finished first."""
    old = final.parent / f".{final.name}.{new_id()}.old"
    if read_marker(final) == before:
        with suppress(FileNotFoundError):
            final.rename(old)
    try:
        draft.rename(final)
    except OSError:
        if read_marker(final) is None:
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def remove_drafts(parent: Path) -> list[Path]:
    """Delete drafts of killed processes: repeated kills would otherwise fill the disk with them."""
    leftovers = [path for suffix in ("part", "old") for path in parent.glob(f".*.{suffix}")]
    stale = [path for path in leftovers if path.is_dir() and _is_abandoned(path)]
    for path in stale:
        shutil.rmtree(path, ignore_errors=True)
    return stale


def _is_abandoned(draft: Path) -> bool:
    """Return whether no process holds the draft's lock; without lock support, whether it is unmodified for a day."""
    try:
        age = time.time() - draft.stat().st_mtime
        lock = os.open(draft, os.O_RDONLY)
    except OSError:
        return False  # Already deleted, or not accessible.
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return age > ABANDONED_AFTER_SECONDS
    finally:
        os.close(lock)
    return age > LOCK_GRACE_SECONDS


def converted_bytes(model: CatalogueModel, weight_bytes: int, dtype: str) -> int:
    """Return the size of the converted copy: by the row's parameters if known, at most twice the original."""
    known = sum(model.weights.parameters.values()) * DTYPE_BYTES[dtype]
    return min(known, 2 * weight_bytes) if known else weight_bytes


def free_bytes(folder: Path) -> int:
    """Return the free bytes on the disk of `folder`, which need not exist."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free


def check_space(folder: Path, needed: int, what_for: str) -> None:
    """Raise Conflict `not_enough_disk` when the disk of `folder` has too little free; the folder need not exist."""
    free = free_bytes(folder)
    if free < needed + SPARE_BYTES:
        raise Conflict(
            f"{what_for} needs {needed / GIGABYTE:.1f} GB under {folder}, but only {free / GIGABYTE:.1f} GB are free. "
            "Free some space, or set IMAGEFARM_MODELS_DIR to a larger disk.",
            code="not_enough_disk",
        )
