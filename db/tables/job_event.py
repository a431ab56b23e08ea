"""A job's history, one row per transition or request, for people to read."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, EpochSeconds, Id


class JobEvent(Base):
    """What happened: `from_status` is None for the submit; equal statuses mark a request, such as a cancel's."""

    __tablename__ = "job_events"

    # SQLite numbers rows by itself only for INTEGER keys.
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    job_id: Mapped[Id] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    revision: Mapped[int]
    at: Mapped[EpochSeconds]
    from_status: Mapped[str | None] = mapped_column(String(12))
    to_status: Mapped[str] = mapped_column(String(12))
    attempt: Mapped[int]
    worker: Mapped[str | None] = mapped_column(String(120))
    code: Mapped[str | None] = mapped_column(String(64))
    message: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index("ix_job_events_job_id_id", "job_id", "id"),)
