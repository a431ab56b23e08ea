"""Where a request may carry its key: Authorization (Bearer or Basic), X-API-Key, or the page's cookie."""

from __future__ import annotations

import base64
import binascii

from fastapi import Request

COOKIE = "imagefarm_key"


def key_of(request: Request) -> str | None:
    """The key as it was sent; None when there is none."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        return _password(value)
    return request.headers.get("x-api-key") or request.cookies.get(COOKIE)


def _password(value: str) -> str:
    """Clients that know only user and password put the key into either."""
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return ""
    return password or user
