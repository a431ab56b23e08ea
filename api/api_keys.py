"""Find the API key of a request and check it against the database, with a cache of a few seconds."""

from __future__ import annotations

import base64
import binascii
import time
from collections import OrderedDict

from fastapi import Request

from api.caller import Caller, KeyLimits, clean_label, labelled
from api.threads import in_thread
from core.api_keys import Scope, parse_key, secret_matches
from core.errors import Unauthorized
from core.settings import Settings
from db.api_keys import active_key, any_active
from db.database import Database
from db.tables import ApiKey

COOKIE = "imagefarm_key"


def key_of(request: Request) -> str | None:
    """Return the key as it was sent; None when there is none."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        return _password(value)
    return request.headers.get("x-api-key") or request.cookies.get(COOKIE)


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
    """Checks keys; they are required once there is one, unless the setting `open_access` is on."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._open = settings.open_access
        self._database = database
        self._rows: OrderedDict[str, tuple[float, ApiKey]] = OrderedDict()
        self._in_force: tuple[float, bool] = (float("-inf"), False)

    async def caller(self, key: str | None, label: str | None) -> Caller:
        """Return the caller of a key; raise Unauthorized when keys are required and this one is not valid."""
        if key and (parts := parse_key(key)) is not None:
            row = await self._row(parts[0])
            if row is not None and secret_matches(parts[1], row.secret_hash):
                return _caller(row, label)
        if await self.in_force():
            raise Unauthorized(f"The key is not valid. {_HELP}" if key else f"A key is required. {_HELP}")
        return labelled(label)

    async def in_force(self) -> bool:
        """Return whether callers need a key."""
        if self._open:
            return False
        taken_at, found = self._in_force
        if time.monotonic() - taken_at > FRESH_SECONDS:
            found = await in_thread(any_active, self._database)
            self._in_force = time.monotonic(), found
        return found

    async def row(self, key_id: str) -> ApiKey | None:
        """Return an active key by its public id."""
        return await self._row(key_id)

    async def _row(self, key_id: str) -> ApiKey | None:
        known = self._rows.get(key_id)
        if known is not None and time.monotonic() - known[0] < FRESH_SECONDS:
            return known[1]
        row = await in_thread(active_key, self._database, key_id)
        if row is None:
            self._rows.pop(key_id, None)
            return None
        self._rows[key_id] = time.monotonic(), row
        self._rows.move_to_end(key_id)
        while len(self._rows) > _MAX_CACHED:
            self._rows.popitem(last=False)
        return row


def _caller(row: ApiKey, label: str | None) -> Caller:
    limits = KeyLimits(row.id, row.max_queued, row.submits_per_minute, row.pixels_per_day)
    return Caller(row.owner, clean_label(label), frozenset(Scope(scope) for scope in row.scopes), limits)
