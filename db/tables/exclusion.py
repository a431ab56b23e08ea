"""Workers that must not get a certain job again."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, EpochSeconds, Id


class JobExclusion(Base):
    """This worker is marked bad for this job: it ran out of memory there, say."""

    __tablename__ = "job_exclusions"

    job_id: Mapped[Id] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    worker: Mapped[str] = mapped_column(String(120), primary_key=True)
    code: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[EpochSeconds]
