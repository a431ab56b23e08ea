"""Tokens of the web page's sessions; only a hash of each is stored."""

from __future__ import annotations

import hashlib
import re
import secrets

SESSION_SECONDS = 30 * 86_400.0
_BYTES = 32
_TOKEN = re.compile(r"ifs_[A-Za-z0-9_-]{43}", re.ASCII)


def generate_token() -> str:
    """Return a new random token."""
    return f"ifs_{secrets.token_urlsafe(_BYTES)}"


def is_token(text: str) -> bool:
    """Return whether the text has the form of a token."""
    return _TOKEN.fullmatch(text) is not None


def hash_token(token: str) -> str:
    """Return the session's id: SHA-256 in hex, as 256 random bits need no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()
