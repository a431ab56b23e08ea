"""Find out whether a folder takes files, by writing one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

PARTIAL_PREFIX = ".partial-probe-"
"""Begins like a half-written image, so that the sweep of those removes what a killed process left."""
_BYTES = 4096


def probe_folder(root: Path) -> None:
    """Write, sync and delete a small file under `root`; raise OSError when that fails.

    A folder that does not exist yet counts as its nearest parent that does: nothing is made.
    """
    folder = root
    while not folder.exists() and folder.parent != folder:
        folder = folder.parent
    path = folder / f"{PARTIAL_PREFIX}{secrets.token_hex(8)}"
    try:
        with path.open("xb") as file:
            file.write(b"\0" * _BYTES)
            file.flush()
            os.fsync(file.fileno())
    finally:
        path.unlink(missing_ok=True)
