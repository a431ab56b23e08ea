"""Tables of API keys and of the quota that their owners have used."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, String
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
