"""Create and use up the tokens by which machines join the farm."""

from __future__ import annotations

from sqlalchemy import ColumnElement, delete, insert, literal, select, update

from core.errors import Forbidden
from core.join_tokens import generate_token, parse_token
from db.database import Database
from db.sql import now
from db.tables import JoinToken

KEPT_SECONDS = 30 * 86_400.0
"""Rows of tokens stay this long after their end, so that it can be seen who joined."""


def create_token(database: Database, seconds: float) -> str:
    """Create a token that is valid for that long and return it; only its hash is stored. Old rows are deleted."""
    token_id, secret_hash, token = generate_token()
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
    parsed = parse_token(token)
    if parsed is not None:
        with database.read() as session:
            if session.scalar(select(JoinToken.id).where(*_good(*parsed))) is not None:
                return
    raise _invalid()


def use_token(database: Database, token: str, host: str) -> float:
    """Use a token up and return the database's time. Raises Forbidden `join_token_invalid` unless it is good."""
    parsed = parse_token(token)
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
