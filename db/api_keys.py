"""Create, list, revoke and look up API keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from sqlalchemy import ColumnElement, func, insert, inspect, literal, or_, select, update

from core.api_keys import DEFAULT_SCOPES, Scope, generate_key, hash_secret
from core.errors import Conflict, NotFound
from db.database import Database
from db.prepared import Prepared
from db.sql import now
from db.tables import ApiKey, PageSession

USED_SECONDS = 60.0
"""Precision of `last_used_at`."""


@dataclass(frozen=True)
class NewKey:
    """Values of a key to create. Several keys may share an `owner`; empty: an owner of its own. Limits: None for none."""

    name: str
    owner: str = ""
    scopes: tuple[Scope, ...] = DEFAULT_SCOPES
    max_queued: int | None = None
    submits_per_minute: int | None = None
    pixels_per_day: int | None = None
    expires_in_seconds: float | None = None


def create_key(database: Database, new: NewKey) -> tuple[ApiKey, str]:
    """Create a key; return its row and the key itself, which is not stored and cannot be read again."""
    key_id, secret, key = generate_key()
    expires = now() + literal(new.expires_in_seconds) if new.expires_in_seconds is not None else None
    with database.write() as session:
        row = session.scalars(
            insert(ApiKey)
            .values(
                id=key_id,
                name=new.name,
                owner=new.owner or f"key:{key_id}",
                secret_hash=hash_secret(secret),
                scopes=[scope.value for scope in new.scopes],
                max_queued=new.max_queued,
                submits_per_minute=new.submits_per_minute,
                pixels_per_day=new.pixels_per_day,
                created_at=now(),
                expires_at=expires,
            )
            .returning(ApiKey)
        ).one()
    return row, key


def list_keys(database: Database) -> Sequence[ApiKey]:
    """Return all keys, including revoked ones, oldest first."""
    with database.read() as session:
        return session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)).all()


def revoke_key(database: Database, key_id: str, *, keep_admin: bool = False) -> ApiKey:
    """Revoke a key, end its sessions and return its row. A key that was revoked before stays as it is.

    Raises NotFound for an unknown id and, with `keep_admin`, Conflict `last_admin_key` for the last valid key of an
    administrator.
    """
    with database.write() as session:
        if keep_admin:
            # Locked, so that two administrators who revoke each other at the same time leave one.
            active = select(ApiKey.id, ApiKey.scopes).where(*_active()).order_by(ApiKey.id).with_for_update()
            rows = session.execute(active)
            if [row.id for row in rows if Scope.ADMIN in row.scopes] == [key_id]:
                raise Conflict(
                    "This is the last valid key with the scope admin. Create another one first, or revoke it on the farm's "
                    f"machine: `imagefarm keys revoke {key_id}`.",
                    code="last_admin_key",
                )
        row = session.scalar(
            update(ApiKey)
            .where(ApiKey.id == key_id)
            .values(revoked_at=func.coalesce(ApiKey.revoked_at, now()))
            .returning(ApiKey)
            .execution_options(populate_existing=True)
        )
        session.execute(
            update(PageSession)
            .where(PageSession.key_id == key_id, PageSession.revoked_at.is_(None))
            .values(revoked_at=now())
        )
    if row is None:
        raise NotFound(f"There is no key {key_id}. `imagefarm keys list` shows them.", code="key_not_found")
    return row


def active_key(database: Database, key_id: str) -> ApiKey | None:
    """Return the key of that public id and update `last_used_at`; None when it is unknown, revoked or expired."""
    with database.read() as session:
        row = session.scalar(select(ApiKey).where(ApiKey.id == key_id, *_active()))
        stale = row is not None and session.scalar(
            select(or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < now() - USED_SECONDS)).where(ApiKey.id == key_id)
        )
    if stale:
        with database.write() as session:
            session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=now()))
    return row


def any_active(database: Database) -> bool:
    """Return whether any key is active; False also when the tables do not exist yet."""
    return _any(database, *_active())


def any_ever(database: Database) -> bool:
    """Return whether any key was ever created, revoked and expired ones included: from then on, callers need one.

    Rows of keys are never deleted. False also when the tables do not exist yet.
    """
    return _any(database)


def any_row(database: Database) -> bool:
    """Return what `any_ever` does, at a tenth of its cost; raises Unavailable while the tables do not exist."""
    with database.read_rows() as connection:
        return bool(_any_row().rows(connection, {}))


@cache
def _any_row() -> Prepared:
    return Prepared(select(ApiKey.id).limit(1))


def _any(database: Database, *conditions: ColumnElement[bool]) -> bool:
    with database.read() as session:
        if not inspect(session.connection()).has_table(ApiKey.__tablename__):
            return False
        return session.scalar(select(literal(1)).select_from(ApiKey).where(*conditions).limit(1)) is not None


def _active() -> tuple[ColumnElement[bool], ...]:
    return ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now())
