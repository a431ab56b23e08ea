"""Table of the web page's sessions."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, EpochSeconds


class PageSession(Base):
    """A browser that signed in with a key. `id` is the SHA-256 of the token in its cookie, which is not stored."""

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(16), ForeignKey("api_keys.id", ondelete="CASCADE"))
    created_at: Mapped[EpochSeconds]
    expires_at: Mapped[EpochSeconds]
    revoked_at: Mapped[EpochSeconds | None]

    __table_args__ = (Index("ix_sessions_key_id", "key_id"), Index("ix_sessions_expires_at", "expires_at"))
