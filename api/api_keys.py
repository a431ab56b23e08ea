"""Find the caller of a request by API key or page session, checked against the database with a cache of a few seconds."""

from __future__ import annotations

import base64
import binascii
import time
from collections import OrderedDict
from collections.abc import Callable

from fastapi import Request

from api.caller import Caller, KeyLimits, clean_label, labelled
from api.sessions import token_of
from api.single_flight import SingleFlight
from api.threads import in_thread
from core.api_keys import Scope, parse_key, secret_matches
from core.errors import Unauthorized
from core.exposure import is_loopback
from core.sessions import hash_token
from core.settings import Settings
from db.api_keys import active_key, any_ever
from db.database import Database
from db.sessions import key_of_session
from db.tables import ApiKey


def key_of(request: Request) -> str | None:
    """Return the key as it was sent in a header; None when there is none."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        return _password(value)
    return request.headers.get("x-api-key") or request.headers.get("api-key")


def _password(value: str) -> str:
    """Return the key of a Basic header: clients put it into the user name or the password."""
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return ""
    return password or user


FRESH_SECONDS = 5.0
"""Age limit of cached answers: a revoked key works for at most this long, and so does access without a key
after the first key was created."""
_MAX_CACHED = 1000
_HELP = "Send a key as `Authorization: Bearer ifk_...`; `imagefarm keys create` creates one."


class ApiKeyAuthenticator:
    """Checks keys and sessions.

    Keys are required once any was created, for good: revoking or expiring the last one locks callers out and lets no one
    in. Off loopback they are required from the start, unless the setting `open_access` is on.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._always_in_force = not (is_loopback(settings.host) or settings.open_access)
        self._database = database
        self._reads = SingleFlight()
        self._rows: OrderedDict[str, tuple[float, ApiKey]] = OrderedDict()
        self._none_at = float("-inf")
        self._forgotten = 0
        """Sessions that have ended in this process: what was read before the latest end is not kept."""

    async def caller(self, request: Request, label: str | None) -> Caller:
        """Return the caller of a request; raise Unauthorized when keys are required and no valid one came with it."""
        row = None
        if (key := key_of(request) or None) is not None:
            row = await self.key_row(key)
        elif "cookie" in request.headers:  # of the page
            row = await self._session_row(token_of(request))
        if row is not None:
            return caller_of(row, label)
        if await self.in_force():
            raise Unauthorized(f"The key is not valid. {_HELP}" if key else f"A key is required. {_HELP}")
        return labelled(label)

    async def in_force(self) -> bool:
        """Return whether callers need a key. Once true, it stays true."""
        if not self._always_in_force and time.monotonic() - self._none_at > FRESH_SECONDS:
            await self._reads.join(any_ever, self._ask_whether_in_force)
        return self._always_in_force

    async def _ask_whether_in_force(self) -> None:
        asked_at = time.monotonic()
        if await in_thread(any_ever, self._database):
            self._always_in_force = True
        else:
            self._none_at = asked_at

    async def key_row(self, key: str) -> ApiKey | None:
        """Return the row of a whole key as its owner sends it; None when it is not valid."""
        parts = parse_key(key)
        row = await self.row(parts[0]) if parts is not None else None
        return row if row is not None and parts is not None and secret_matches(parts[1], row.secret_hash) else None

    async def row(self, key_id: str) -> ApiKey | None:
        """Return an active key by its public id."""
        return await self._cached(key_id, active_key, key_id)

    async def _session_row(self, token: str | None) -> ApiKey | None:
        if token is None:
            return None
        session_id = hash_token(token)
        return await self._cached(_session(session_id), key_of_session, session_id)

    def forget_session(self, session_id: str) -> None:
        """Let the end of a session take effect in this process at once."""
        self._forgotten += 1
        self._rows.pop(_session(session_id), None)
        self._reads.forget(_session(session_id))

    async def _cached(self, name: str, read: Callable[[Database, str], ApiKey | None], row_id: str) -> ApiKey | None:
        known = self._rows.get(name)
        if known is not None and time.monotonic() - known[0] < FRESH_SECONDS:
            return known[1]
        return await self._reads.join(name, lambda: self._read(name, read, row_id))

    async def _read(self, name: str, read: Callable[[Database, str], ApiKey | None], row_id: str) -> ApiKey | None:
        asked_at, forgotten = time.monotonic(), self._forgotten
        row = await in_thread(read, self._database, row_id)
        if row is None:
            self._rows.pop(name, None)
            return None
        if forgotten != self._forgotten:
            return row
        self._rows[name] = asked_at, row
        self._rows.move_to_end(name)
        while len(self._rows) > _MAX_CACHED:
            self._rows.popitem(last=False)
        return row


def _session(session_id: str) -> str:
    return f"session:{session_id}"


def caller_of(row: ApiKey, label: str | None) -> Caller:
    """Return the caller that a key stands for."""
    limits = KeyLimits(row.id, row.max_queued, row.submits_per_minute, row.pixels_per_day)
    return Caller(row.owner, clean_label(label), frozenset(Scope(scope) for scope in row.scopes), limits)
