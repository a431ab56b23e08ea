"""The farm's own Redis: where it keeps its data, on which port, and whether it answers."""

from __future__ import annotations

import contextlib
from pathlib import Path

import redis

from core.settings import Settings
from supervisor.child import ChildSpec
from supervisor.errors import PortTaken
from supervisor.ports import take_port
from supervisor.redis_binary import find_redis_binary, redis_command

HOST = "127.0.0.1"


def choose_port(data_dir: Path) -> int:
    """The port of the last time when it is free, else another; written down for commands that join a running farm."""
    note = data_dir / "redis" / "port"
    try:
        port = take_port(HOST, int(note.read_text()), "--port")
    except (OSError, ValueError, PortTaken):
        port = take_port(HOST, 0, "--port")
    note.write_text(str(port))
    return port


def url_for(port: int) -> str:
    return f"redis://{HOST}:{port}/0"


def url_of_running_farm(settings: Settings) -> str:
    """Where this data directory's embedded server listens, or listened last; empty when there was none."""
    with contextlib.suppress(OSError, ValueError):
        return url_for(int((settings.data_dir / "redis" / "port").read_text()))
    return ""


def redis_child(data_dir: Path, port: int) -> ChildSpec:
    """The server as a child that is stopped after everything that uses it."""
    command = redis_command(find_redis_binary(), data_dir / "redis", port)
    return ChildSpec("redis", tuple(command), stop_stage=1, quiet=True)


def answers(url: str) -> bool:
    """Whether a Redis at `url` takes commands now (not while it still loads its data)."""
    try:
        with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as connection:
            return bool(connection.ping())
    except redis.RedisError:
        return False
