"""Tables of access: API keys and their quota, sessions of the page, tokens by which machines join."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, EpochSeconds, Id


class ApiKey(Base):
    """An API key. `secret_hash` is the SHA-256 of its random part, which is not stored. Limits are None for none."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    """The public part of the key."""
    name: Mapped[str] = mapped_column(String(100))
    owner: Mapped[str] = mapped_column(String(120))
    secret_hash: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]]
    max_queued: Mapped[int | None]
    submits_per_minute: Mapped[int | None]
    pixels_per_day: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[EpochSeconds]
    expires_at: Mapped[EpochSeconds | None]
    revoked_at: Mapped[EpochSeconds | None]
    last_used_at: Mapped[EpochSeconds | None]


class QuotaCounter(Base):
    """The amount that a key has used of one limit in one time span; `bucket` names both, such as `pixels:20780`."""

    __tablename__ = "quota_counters"

    key_id: Mapped[Id] = mapped_column(primary_key=True)
    bucket: Mapped[str] = mapped_column(String(40), primary_key=True)
    used: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[EpochSeconds]

    __table_args__ = (Index("ix_quota_counters_created_at", "created_at"),)


class JoinToken(Base):
    """A token that is used once. `secret_hash` is the SHA-256 of its random part, which is not stored."""

    __tablename__ = "join_tokens"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    """The public part of the token."""
    secret_hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[EpochSeconds]
    expires_at: Mapped[EpochSeconds]
    used_at: Mapped[EpochSeconds | None]
    used_by: Mapped[str | None] = mapped_column(String(255))
    """Name of the machine that used it, as it gave it."""

    __table_args__ = (Index("ix_join_tokens_expires_at", "expires_at"),)


class PageSession(Base):
    """A browser that signed in with a key. `id` is the SHA-256 of the token in its cookie, which is not stored."""

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(16), ForeignKey("api_keys.id", ondelete="CASCADE"))
    created_at: Mapped[EpochSeconds]
    expires_at: Mapped[EpochSeconds]
    revoked_at: Mapped[EpochSeconds | None]

    __table_args__ = (Index("ix_sessions_key_id", "key_id"), Index("ix_sessions_expires_at", "expires_at"))
