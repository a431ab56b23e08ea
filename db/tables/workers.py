"""The workers the farm has seen, as they describe themselves."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, EpochSeconds, JsonObject


class Worker(Base):
    """`state`: loading, ready, draining, stopped or failed. Live means seen lately, whatever the state."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(120), primary_key=True)
    incarnation: Mapped[str] = mapped_column(String(36))
    model: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(12))
    message: Mapped[str | None] = mapped_column(String(2000))
    """Why it is in that state, in words: a load error, a drain's reason."""
    capacity: Mapped[int]
    device: Mapped[str] = mapped_column(String(120))
    info: Mapped[JsonObject]
    """The engine's description of itself: dtype, memory policy, versions, load seconds."""
    paused_at: Mapped[EpochSeconds | None]
    drain_requested_at: Mapped[EpochSeconds | None]
    started_at: Mapped[EpochSeconds]
    seen_at: Mapped[EpochSeconds]
