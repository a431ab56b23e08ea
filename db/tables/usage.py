"""Table of usage by day and owner."""

from __future__ import annotations

from sqlalchemy import BigInteger, Double, Index, SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base


class UsageDay(Base):
    """A part of an owner's usage of one day; the sum over the parts counts, and a single one may be below zero.

    `day` counts from 1970-01-01 (UTC) and is that of the end of the job. Workers that finish jobs of one owner at once
    write different parts, so that none waits for the commit of another; deletions have a part of their own.
    """

    __tablename__ = "usage_days"

    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner: Mapped[str] = mapped_column(String(120), primary_key=True)
    part: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    jobs: Mapped[int] = mapped_column(BigInteger)
    images: Mapped[int] = mapped_column(BigInteger)
    pixels: Mapped[int] = mapped_column(BigInteger)
    render_seconds: Mapped[float] = mapped_column(Double)

    __table_args__ = (Index("ix_usage_days_owner_day", "owner", "day"),)
