"""Generate, parse and check API keys; only a hash of the secret is stored."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from enum import StrEnum

PREFIX = "ifk"
_ID_BYTES, _SECRET_BYTES = 6, 32
_KEY = re.compile(rf"{PREFIX}_([0-9a-f]{{{2 * _ID_BYTES}}})_([A-Za-z0-9_-]{{43}})", re.ASCII)


class Scope(StrEnum):
    """A permission of a key. `admin` includes all others."""

    SUBMIT = "submit"
    READ_OWN = "read-own"
    READ_ALL = "read-all"
    ADMIN = "admin"


DEFAULT_SCOPES = (Scope.SUBMIT, Scope.READ_OWN)


def generate_key() -> tuple[str, str, str]:
    """Return a new key as (public id, secret, the whole key as its owner keeps it)."""
    key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    return key_id, secret, f"{PREFIX}_{key_id}_{secret}"


def parse_key(text: str) -> tuple[str, str] | None:
    """Return (public id, secret) of a key; None for any other text."""
    match = _KEY.fullmatch(text)
    return (match[1], match[2]) if match else None


def hash_secret(secret: str) -> str:
    """Return the SHA-256 in hex; a slow hash is not needed for 256 random bits, which no dictionary contains."""
    return hashlib.sha256(secret.encode()).hexdigest()


def secret_matches(secret: str, secret_hash: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(hash_secret(secret), secret_hash)
