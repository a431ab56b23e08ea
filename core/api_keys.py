"""Generate, parse and check API keys; only a hash of the secret is stored."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from enum import StrEnum

from core.errors import InvalidInput

PREFIX = "ifk"
MOST_NAME, MOST_OWNER = 100, 120
"""Characters, as the table of keys holds them."""
MOST_DAYS = 36_500.0
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


def check_new_key(name: str, owner: str, days: float | None) -> None:
    """Check the texts and the life of a key to create; `owner` may be empty. Raise InvalidInput with what to write."""
    for what, text, most in (("name", name, MOST_NAME), ("owner", owner or "-", MOST_OWNER)):
        if not text.isprintable() or text != text.strip() or not 0 < len(text) <= most:
            raise InvalidInput(
                f"The {what} of a key has 1 to {most} printable characters, without blanks around them; not {text!r}.",
                field=what,
            )
    if days is not None and not 0 < days <= MOST_DAYS:
        raise InvalidInput(f"--days must be above 0 and at most {MOST_DAYS:g}, not {days:g}.", field="days")
