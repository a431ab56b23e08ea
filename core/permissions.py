"""Keep what the farm writes from other users of the machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from core.settings import Settings

_OWN_FILES = ("imagefarm.db", "imagefarm.lock", "node", "redis", "logs", "images", "uploads", "wildcards")
"""First names in a data directory of what a farm writes; models are public, and other files are not the farm's."""
_OTHERS = 0o077


def keep_private(settings: Settings) -> str | None:
    """Let this process create files for its user alone, and close an existing data directory to everybody else.

    Return a line for the log when permissions were or could not be changed. Does nothing with `data_dir_shared`.
    """
    if settings.data_dir_shared:
        return None
    os.umask(_OTHERS)
    with suppress(OSError):  # whatever keeps the directory from being used is reported by those that use it
        return _close(settings.data_dir) if settings.data_dir.is_dir() else None
    return None


def _close(data_dir: Path) -> str | None:
    if not data_dir.stat().st_mode & _OTHERS:
        return None
    if data_dir.stat().st_mode & stat.S_ISVTX or data_dir.parent == data_dir:
        changed = sum(_close_one(path) for path in _own(data_dir))
        return (
            f"{data_dir} is a directory that all users share: only the farm's own files there were closed to them. "
            "Choose another with IMAGEFARM_DATA_DIR."
            if changed
            else None
        )
    try:
        _close_one(data_dir)
    except PermissionError:
        return (
            f"Other users of this machine can read {data_dir}, which belongs to another user: run "
            f"`chmod 700 {data_dir}` as that one, or set IMAGEFARM_DATA_DIR_SHARED=true if that is intended."
        )
    for path in _own(data_dir):
        with suppress(OSError):
            _close_one(path)
    return (
        f"{data_dir} is now closed to other users of this machine (mode 0700); set IMAGEFARM_DATA_DIR_SHARED=true to "
        "share it"
    )


def _close_one(path: Path) -> bool:
    """Take the rights of group and others away; return whether they had any. Symbolic links are left alone."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode) or not mode & _OTHERS:
        return False
    path.chmod(stat.S_IMODE(mode) & ~_OTHERS)
    return True


def _own(data_dir: Path) -> Iterator[Path]:
    for entry in data_dir.iterdir():
        if not entry.name.startswith(_OWN_FILES) or entry.is_symlink():
            continue
        yield entry
        for folder, folders, names in os.walk(entry):
            yield from (Path(folder, name) for name in (*folders, *names))
