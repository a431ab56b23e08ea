"""Turn errors of SQLite, Postgres and their drivers into sentences that say what is wrong with the database and what to do.

No sentence holds a password: what a driver or a server says is shown without the parts of the URL that may hold one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from core.errors import Unavailable

DAMAGED, NEWER, ENCODING = "database_damaged", "database_newer", "database_encoding"
REFUSED, NO_TABLES, AWAY = "database_refused", "database_tables_missing", "database_unavailable"

_RESTORE = (
    "Stop the farm, move the file away together with those beside it whose names begin the same, and put a backup back "
    "with `imagefarm restore`; without one, `sqlite3 FILE .recover` reads what is left"
)
_SQLITE: tuple[tuple[str, str, str], ...] = (
    ("malformed|file is not a database|malformed database schema", DAMAGED, f"is damaged ({{cause}}). {_RESTORE}."),
    (
        "readonly database|read-only",
        REFUSED,
        "cannot be written. Give the farm's user the right to write the file and its folder, on a disk that is not mounted "
        "read-only.",
    ),
    ("unable to open", REFUSED, "cannot be opened. See that its folder exists and that the farm's user may write there."),
    ("disk is full", REFUSED, "cannot grow, because its disk is full. Free some space."),
    ("disk I/O error", REFUSED, "cannot be read or written: its disk reports an error (disk I/O error)."),
    ("no such table|no such column", NO_TABLES, "lacks tables of this version. Run `imagefarm db upgrade`."),
)
"""Pattern of what SQLite says, our code, and what is said after "The database FILE "."""

_POSTGRES: tuple[tuple[str, str, str], ...] = (
    ("no password supplied", REFUSED, "wants a password. Write it into IMAGEFARM_DATABASE_URL: {example}."),
    (
        "password authentication failed|authentication failed",
        REFUSED,
        "refuses the password of the user {user!r}. Correct it in IMAGEFARM_DATABASE_URL; write % as %25, / as %2F and @ as "
        "%40.",
    ),
    (
        r'role "[^"]*" does not exist',
        REFUSED,
        "has no user {user!r}. Create it (`createuser --pwprompt {user}`), or name another in IMAGEFARM_DATABASE_URL.",
    ),
    (
        r'database "[^"]*" does not exist',
        REFUSED,
        "has no database {name!r}. Create it (`createdb --owner={user} --encoding=UTF8 --template=template0 {name}`), or "
        "name another in IMAGEFARM_DATABASE_URL.",
    ),
    ("no pg_hba.conf entry", REFUSED, "does not let the user {user!r} in from this machine. Add a line to its pg_hba.conf."),
    (
        "permission denied to set|permission denied for database",
        REFUSED,
        "does not let the user {user!r} use the database {name!r}. Run `GRANT ALL ON DATABASE {name} TO {user}` there.",
    ),
    (
        "invalid connection option",
        REFUSED,
        "is not asked: IMAGEFARM_DATABASE_URL has an option that libpq does not know ({cause}). Correct or remove it.",
    ),
    (
        "server does not support SSL",
        REFUSED,
        "offers no TLS, which sslmode in IMAGEFARM_DATABASE_URL requires. Set `ssl = on` in its postgresql.conf, or, in a "
        "private network, remove sslmode.",
    ),
    (
        'root certificate file "[^"]*" does not exist',
        REFUSED,
        "cannot be checked: its authority's certificate is not on this machine. Copy it here and name the file as "
        "sslrootcert in IMAGEFARM_DATABASE_URL.",
    ),
    (
        "certificate verify failed",
        REFUSED,
        "shows a certificate that is expired or that no known authority signed. Name the authority's file as sslrootcert in "
        "IMAGEFARM_DATABASE_URL, or renew the certificate.",
    ),
    (
        "does not match host name|does not match host",
        REFUSED,
        "shows a certificate of another name. Write the name in the certificate as the host in IMAGEFARM_DATABASE_URL, or "
        "issue one for this name.",
    ),
    (
        "failed to resolve host|could not translate host name|Name or service not known|nodename nor servname",
        AWAY,
        "cannot be found: its host name is unknown. Correct the host in IMAGEFARM_DATABASE_URL.",
    ),
    (
        "[Cc]onnection refused",
        AWAY,
        "does not answer (connection refused). Start it, or correct host and port in IMAGEFARM_DATABASE_URL.",
    ),
)
"""Pattern of what the driver or the server says on connecting, our code, and what is said after "Postgres at HOST "."""

_SQLSTATES: dict[str, tuple[str, str]] = {
    "42501": (
        REFUSED,
        "The user {user!r} lacks a right in the database {name!r} ({cause}). As its owner run "
        "`GRANT ALL ON SCHEMA public TO {user}` and `GRANT ALL ON ALL TABLES IN SCHEMA public TO {user}`.",
    ),
    "42P01": (NO_TABLES, "The database {name!r} lacks tables of this version. Run `imagefarm db upgrade`."),
    "42703": (NO_TABLES, "The database {name!r} lacks columns of this version. Run `imagefarm db upgrade`."),
    "22P05": (ENCODING, "The database {name!r} cannot store this text: its encoding is not UTF8 ({cause})."),
    "53100": (REFUSED, "Postgres cannot write: its disk is full. Free some space."),
    "XX001": (DAMAGED, "The database {name!r} is damaged ({cause}). Restore a backup."),
    "XX002": (DAMAGED, "The database {name!r} has a damaged index ({cause}). Run `REINDEX DATABASE {name}`."),
}
_AWAY_SQLSTATES = frozenset({"25006", "57P01", "57P02", "57P03"})
"""SQLSTATEs of a server that is read-only after a failover, shutting down, crashed, starting up."""


class DatabaseUnusable(Unavailable):
    """The database answers, but cannot be used until an operator acts; the message says how."""


@contextmanager
def translate_errors(url: URL) -> Iterator[None]:
    """Raise Unavailable with a sentence for every error of the database's, the driver's or the pool's that has one."""
    try:
        yield
    except PoolTimeout as error:
        raise _away(url, "all connections of this process are in use") from error
    except DBAPIError as error:
        found = explain(error, url)
        if found is None:
            raise
        raise found from error


def explain(error: DBAPIError, url: URL) -> Unavailable | None:
    """Return the error to show; None for a defect of a statement, which is a bug."""
    cause = _cause(error, url)
    if url.get_backend_name() == "sqlite":
        for pattern, code, text in _SQLITE:
            if re.search(pattern, cause):
                return DatabaseUnusable(f"The database {url.database} {text.replace('{cause}', cause)}", code=code)
    else:
        facts = {"user": url.username or "", "name": url.database or "", "cause": cause, "example": _EXAMPLE}
        state = getattr(error.orig, "sqlstate", None)
        if state in _SQLSTATES:
            code, text = _SQLSTATES[state]
            return DatabaseUnusable(text.format(**facts), code=code)
        for pattern, code, text in _POSTGRES if isinstance(error, OperationalError) or state is None else ():
            if re.search(pattern, str(error.orig)):
                return _kind(code)(f"Postgres at {_server(url)} {text.format(**facts)}", code=code)
        if state in _AWAY_SQLSTATES:
            return _away(url, cause)
    if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
        return _away(url, cause)
    return None


def damaged_sqlite(file: str, cause: str) -> DatabaseUnusable:
    """Return the error for a SQLite file in which a check found damage."""
    return DatabaseUnusable(f"The database {file} is damaged ({cause}). {_RESTORE}.", code=DAMAGED)


_EXAMPLE = "postgresql+psycopg://user:password@host:5432/database"


def _kind(code: str) -> type[Unavailable]:
    return Unavailable if code == AWAY else DatabaseUnusable


def _away(url: URL, cause: str) -> Unavailable:
    return Unavailable(f"The database does not answer ({cause}). Try again in a few seconds.", code=AWAY)


def _server(url: URL) -> str:
    return f"{url.host or 'its socket'}{f':{url.port}' if url.port else ''}"


def _cause(error: DBAPIError, url: URL) -> str:
    """Return the first line of what the driver says, without the password."""
    lines = str(error.orig).strip().splitlines()
    cause = lines[0].strip() if lines else type(error.orig).__name__
    return cause.replace(str(url.password), "***") if url.password else cause
