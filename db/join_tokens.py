"""Create and use up the tokens by which machines join the farm."""

from __future__ import annotations

import re
import secrets

from sqlalchemy import ColumnElement, delete, insert, literal, select, update

from core.api_keys import hash_secret
from core.errors import Forbidden
from db.database import Database
from db.sql import now
from db.tables import JoinToken

_PREFIX = "ifj"
_ID_BYTES, _SECRET_BYTES = 6, 32
_TOKEN = re.compile(rf"{_PREFIX}_([0-9a-f]{{{2 * _ID_BYTES}}})_([A-Za-z0-9_-]{{43}})", re.ASCII)
KEPT_SECONDS = 30 * 86_400.0
"""Rows of tokens stay this long after their end, so that it can be seen who joined."""


def create_token(database: Database, seconds: float) -> str:
    """Create a token that is valid for that long and return it; only its hash is stored. Old rows are deleted."""
    token_id, secret_hash, token = _generate()
    with database.write() as session:
        session.execute(delete(JoinToken).where(JoinToken.expires_at < now() - literal(KEPT_SECONDS)))
        session.execute(
            insert(JoinToken).values(
                id=token_id, secret_hash=secret_hash, created_at=now(), expires_at=now() + literal(seconds)
            )
        )
    return token


def require_good(database: Database, token: str) -> None:
    """Raise Forbidden `join_token_invalid` unless the token could be used now."""
    parsed = _parse(token)
    if parsed is not None:
        with database.read() as session:
            if session.scalar(select(JoinToken.id).where(*_good(*parsed))) is not None:
                return
    raise _invalid()


def use_token(database: Database, token: str, host: str) -> float:
    """Use a token up and return the database's time. Raises Forbidden `join_token_invalid` unless it is good."""
    parsed = _parse(token)
    if parsed is not None:
        with database.write() as session:
            used = session.scalar(
                update(JoinToken).where(*_good(*parsed)).values(used_at=now(), used_by=host).returning(JoinToken.used_at)
            )
        if used is not None:
            return float(used)
    raise _invalid()


def _good(token_id: str, secret_hash: str) -> tuple[ColumnElement[bool], ...]:
    return (
        JoinToken.id == token_id,
        JoinToken.secret_hash == secret_hash,
        JoinToken.used_at.is_(None),
        JoinToken.expires_at > now(),
    )


def _invalid() -> Forbidden:
    return Forbidden(
        "This join token is unknown, expired or was used before: run `imagefarm join-command` on the control box again.",
        code="join_token_invalid",
    )


def database_time(database: Database) -> float:
    """Return seconds since 1970 on the database's clock."""
    with database.read() as session:
        return float(session.scalar(select(now())) or 0.0)


def _generate() -> tuple[str, str, str]:
    """Return a new token as (public id, hash of its secret, the whole token)."""
    token_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    return token_id, hash_secret(secret), f"{_PREFIX}_{token_id}_{secret}"


def _parse(text: str) -> tuple[str, str] | None:
    """Return (public id, hash of the secret) of a token; None for any other text."""
    match = _TOKEN.fullmatch(text)
    return (match[1], hash_secret(match[2])) if match else None
