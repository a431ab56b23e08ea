"""One try at a job by one worker."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, EpochSeconds, Id


class Attempt(Base):
    """Opened by a claim, closed by how it ended; `number` is the job's fence while it runs."""

    __tablename__ = "attempts"

    job_id: Mapped[Id] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    worker: Mapped[str] = mapped_column(String(120))
    incarnation: Mapped[str] = mapped_column(String(36))
    """Which life of that worker: names come back after a restart, incarnations do not."""
    started_at: Mapped[EpochSeconds]
    ended_at: Mapped[EpochSeconds | None]
    outcome: Mapped[str | None] = mapped_column(String(12))
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
