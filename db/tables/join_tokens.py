"""Table of the tokens by which other machines join the farm."""

from __future__ import annotations

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, EpochSeconds


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
