"""Remembered Idempotency-Keys and the answers that went with them."""

from __future__ import annotations

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, EpochSeconds, Id, JsonObject


class IdempotencyKey(Base):
    """One key of one owner: the same request gets the same answer, another body is refused."""

    __tablename__ = "idempotency_keys"

    owner: Mapped[str] = mapped_column(String(120), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[Id]
    answer: Mapped[JsonObject | None]
    created_at: Mapped[EpochSeconds]

    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)
