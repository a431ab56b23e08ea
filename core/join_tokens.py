"""Generate, parse and hash the tokens by which machines join a farm."""

from __future__ import annotations

import re
import secrets

from core.api_keys import hash_secret

PREFIX = "ifj"
_ID_BYTES, _SECRET_BYTES = 6, 32
_TOKEN = re.compile(rf"{PREFIX}_([0-9a-f]{{{2 * _ID_BYTES}}})_([A-Za-z0-9_-]{{43}})", re.ASCII)


def generate_token() -> tuple[str, str, str]:
    """Return a new token as (public id, hash of its secret, the whole token)."""
    token_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    return token_id, hash_secret(secret), f"{PREFIX}_{token_id}_{secret}"


def parse_token(text: str) -> tuple[str, str] | None:
    """Return (public id, hash of the secret) of a token; None for any other text."""
    match = _TOKEN.fullmatch(text)
    return (match[1], hash_secret(match[2])) if match else None
