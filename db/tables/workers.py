"""Table of workers, as they report themselves."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, EpochSeconds, JsonObject


class Worker(Base):
    """A worker. `state`: loading, ready, blocked, draining, stopped or failed."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(120), primary_key=True)
    incarnation: Mapped[str] = mapped_column(String(36))
    model: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(12))
    message: Mapped[str | None] = mapped_column(String(2000))
    """Reason of the state: a load error, why it drains."""
    capacity: Mapped[int]
    device: Mapped[str] = mapped_column(String(120))
    info: Mapped[JsonObject]
    """The engine's report: dtype, memory policy, versions, load seconds."""
    paused_at: Mapped[EpochSeconds | None]
    drain_requested_at: Mapped[EpochSeconds | None]
    started_at: Mapped[EpochSeconds]
    seen_at: Mapped[EpochSeconds]
