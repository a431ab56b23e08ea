"""URLs of a Redis behind Sentinels, such as `redis+sentinel://:password@one:26379,two:26379/mymaster/0`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

SCHEME = "redis+sentinel"
DEFAULT_PORT = 26379
ASKING: Mapping[str, Any] = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0, "retry": None}
"""redis-py's options for connections to the Sentinels: one that does not answer is passed over at once, not tried again."""
EXAMPLE = f"{SCHEME}://:password@host1:26379,host2:26379,host3:26379/mymaster/0"


@dataclass(frozen=True)
class SentinelUrl:
    """Where the Sentinels listen, the name of the master that they watch, and how to log in to Redis itself.

    `username` and `password`: empty for none. The Sentinels are asked without a password.
    """

    sentinels: tuple[tuple[str, int], ...]
    master: str
    database: int
    username: str
    password: str

    @property
    def place(self) -> str:
        """Return what messages call it: no password is in it."""
        return f"{self.master} of the Sentinels {', '.join(f'{host}:{port}' for host, port in self.sentinels)}"

    @property
    def broker_url(self) -> str:
        """Return the URLs, one for each Sentinel, that Celery takes; it gets the master's name as an option."""
        user = f"{quote(self.username, safe='')}:{quote(self.password, safe='')}@" if self.password else ""
        return ";".join(f"sentinel://{user}{_bracketed(host)}:{port}/{self.database}" for host, port in self.sentinels)


def is_sentinel_url(url: str) -> bool:
    """Return whether a Redis URL names Sentinels in place of a server."""
    return url.startswith(f"{SCHEME}://")


def parse_sentinel_url(url: str) -> SentinelUrl:
    """Return its parts. Raises ValueError with what is wrong; the message quotes no part of the URL."""
    if not is_sentinel_url(url):
        raise ValueError(f"it names no Sentinels; write {EXAMPLE}")
    rest, question, _ = url.removeprefix(f"{SCHEME}://").partition("?")
    if question:
        raise ValueError(f"a URL of Sentinels has no options after ?; write {EXAMPLE}, and ? in a password as %3F")
    user, _, servers = rest.rpartition("@")
    username, _, password = user.partition(":")
    hosts, _, path = servers.partition("/")
    master, _, database = path.partition("/")
    if not master or not (database or "0").isdecimal():
        raise ValueError(f"the name of the master and the number of the database end a URL of Sentinels; write {EXAMPLE}")
    return SentinelUrl(
        sentinels=tuple(_server(each) for each in hosts.split(",")),
        master=unquote(master),
        database=int(database or "0"),
        username=unquote(username),
        password=unquote(password),
    )


def _server(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, str(DEFAULT_PORT)
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"each Sentinel is host:port, with commas between them; write {EXAMPLE}")
    return host.strip("[]"), int(port)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
