"""Find what is wrong with the URLs of the database and of Redis, in sentences that never quote a part of them.

A password that is not percent-encoded ends up in the host, the port or the path; no message may show these.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, quote

from core.redis_sentinel import EXAMPLE as SENTINEL_EXAMPLE
from core.redis_sentinel import SCHEME as SENTINEL_SCHEME
from core.redis_sentinel import parse_sentinel_url

REDIS_EXAMPLE = "redis://:password@host:6379/0"
POSTGRES_EXAMPLE = "postgresql+psycopg://user:password@host:5432/database"

_ENCODE = "write % as %25, / as %2F, ? as %3F, # as %23, @ as %40 and : as %3A"
_REDIS_SOCKETS = ("unix", "redis+socket", "redis+unix", "rediss+socket")
_NUMBER = r"[0-9]{1,9}(\.[0-9]{1,9})?"
_REDIS_OPTIONS = {
    **dict.fromkeys(("db", "max_connections", "health_check_interval"), "[0-9]{1,9}"),
    **dict.fromkeys(("timeout", "socket_timeout", "socket_connect_timeout"), f"(?=.*[1-9]){_NUMBER}"),
    "ssl_cert_reqs": "none|optional|required",
}
"""Values that redis-py takes, for the options that it would otherwise end a start for."""
_REDIS_OPTIONS_OF_THE_FARM = ("decode_responses", "encoding", "encoding_errors", "single_connection_client")
"""With another value, answers of Redis are no longer what the farm reads: it would run, and hear of nothing."""
_POSTGRES_OPTIONS = {
    "sslmode": "disable|allow|prefer|require|verify-ca|verify-full",
    "channel_binding": "disable|prefer|require",
    "gssencmode": "disable|prefer|require",
    "target_session_attrs": "any|read-write|read-only|primary|standby|prefer-standby",
    "connect_timeout": "[0-9]{1,9}",
}
"""Values that libpq takes: it reports others as a server that does not answer."""
_SQLITE = ("sqlite", "sqlite+pysqlite")
_POSTGRES = ("postgresql", "postgresql+psycopg")
_AUTHORITY = re.compile(r"(?:[^:/]*(?::[^@]*)?@)?(?P<host>\[[^/?]+\]|[^/:?]+)?(?::(?P<port>[^/?]*))?(?P<rest>.*)", re.S)
"""As SQLAlchemy splits a URL."""


def sqlite_url(file: Path) -> str:
    """Return the URL of a SQLite file; `%`, `?`, `#` and the like in its path are encoded, which `Database` decodes."""
    return f"sqlite:///{quote(str(file), safe=' +/')}"


def redis_url_problem(url: str) -> str | None:
    """Return what is wrong with a Redis URL and what to write instead; None when nothing is."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.startswith("unix:"):
        return f"it is not a URL; write {REDIS_EXAMPLE}"
    if scheme == SENTINEL_SCHEME:
        return _sentinel_problem(url)
    if scheme in _REDIS_SOCKETS:
        return f"Unix sockets are not supported; let the server listen on a port and write {REDIS_EXAMPLE}"
    if scheme in ("sentinel", "redis-sentinel", f"{SENTINEL_SCHEME}s", "rediss+sentinel"):
        return f"Sentinels are named without TLS and in one URL; write {SENTINEL_EXAMPLE}"
    if scheme not in ("redis", "rediss"):
        return f"a URL of Redis begins with redis:// or, with TLS, rediss://; write {REDIS_EXAMPLE}"
    user, at, server = rest.rpartition("@")
    return (_redis_user_problem(user) if at else None) or _redis_server_problem(server)


def _sentinel_problem(url: str) -> str | None:
    user, at, _ = url.removeprefix(f"{SENTINEL_SCHEME}://").rpartition("@")
    if at and (problem := _redis_user_problem(user)):
        return problem
    try:
        parse_sentinel_url(url)
    except ValueError as error:
        return str(error)
    return None


def _redis_user_problem(user: str) -> str | None:
    if any(character in user for character in "/?#@[]"):
        return f"the password holds a character that ends it in a URL: {_ENCODE}"
    if re.search(r"[\s\x00-\x1f]", user):
        return "the password holds a space or a line break; write a space as %20"
    if not user.partition(":")[2]:
        return f"the password is missing before @; write {REDIS_EXAMPLE}, or leave out @ when the server has no password"
    return None


def _redis_server_problem(server: str) -> str | None:
    host, _, path = re.split("[?#]", server, maxsplit=1)[0].partition("/")
    colon, number = host.rpartition("]")[2].partition(":")[1:]
    if problem := _port_problem(colon, number, "redis://host:6379/0"):
        return problem
    if path and not path.isdecimal():
        return "what follows the host is not a database number; write /0 at the end"
    for name, value in parse_qsl(server.partition("#")[0].partition("?")[2], keep_blank_values=True):
        if name in _REDIS_OPTIONS_OF_THE_FARM:
            return f"the option {name} is the farm's own; leave it out"
        if (allowed := _REDIS_OPTIONS.get(name)) and not re.fullmatch(allowed, value):
            return f"the option {name} has a value that it does not take; correct it, or leave it out"
    return None


def database_url_problem(url: str) -> str | None:
    """Return what is wrong with a database URL and what to write instead; None when nothing is."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return f"it is not a URL; write {POSTGRES_EXAMPLE}, or leave it empty for SQLite in the data directory"
    if scheme in _SQLITE:
        if rest and not rest.startswith("/"):
            return "a path follows three slashes; write sqlite:////absolute/path.db or sqlite:///relative/path.db"
        return None
    if scheme not in _POSTGRES:
        return _wrong_scheme(scheme)
    found = _AUTHORITY.fullmatch(rest)
    host, port, path = (found["host"] or "", found["port"], found["rest"]) if found else ("", None, "")
    if "@" in host or "@" in (port or "") or "@" in path.partition("?")[0]:
        return f"the password holds a character that ends it in a URL: {_ENCODE}"
    return _port_problem("" if port is None else ":", port or "", POSTGRES_EXAMPLE) or _option_problem(path)


def _option_problem(path: str) -> str | None:
    for name, value in parse_qsl(path.partition("?")[2], keep_blank_values=True):
        if (allowed := _POSTGRES_OPTIONS.get(name)) and not re.fullmatch(allowed, value):
            choices = "a number of seconds" if "[" in allowed else allowed.replace("|", ", ")
            return f"the option {name} has a value that it does not take; write {choices}, or leave it out"
    return None


def _wrong_scheme(scheme: str) -> str:
    if scheme.partition("+")[0] in ("postgres", "postgresql", "pgsql", "psql"):
        return f"a URL of Postgres begins with postgresql+psycopg://; write {POSTGRES_EXAMPLE}"
    if scheme.startswith("sqlite"):
        return "a URL of SQLite begins with sqlite:///; write sqlite:////absolute/path.db"
    named = "MySQL and MariaDB are" if scheme.partition("+")[0] in ("mysql", "mariadb") else "this kind of database is"
    return f"{named} not supported; use Postgres ({POSTGRES_EXAMPLE}), or leave it empty for SQLite"


def _port_problem(colon: str, number: str, example: str) -> str | None:
    if colon and not number:
        return f"the port after : is empty; write {example}, or leave out the colon"
    if colon and not (number.isdecimal() and len(number) <= 5 and 0 < int(number) < 65536):
        return f"the port is not a number from 1 to 65535; write {example}, and in a password {_ENCODE}"
    return None
