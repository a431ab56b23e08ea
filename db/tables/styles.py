"""Table of styles."""

from __future__ import annotations

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, EpochSeconds, Id

SHARED = ""
"""The owner of shared styles: no caller has this name, and a unique index treats it as a value."""


class StyleRow(Base):
    """A style of one owner, or one that all callers share."""

    __tablename__ = "styles"

    id: Mapped[Id] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(String(120))
    name: Mapped[str] = mapped_column(String(100))
    prompt: Mapped[str] = mapped_column(Text)
    negative_prompt: Mapped[str] = mapped_column(Text)
    created_at: Mapped[EpochSeconds]
    updated_at: Mapped[EpochSeconds]

    __table_args__ = (Index("uq_styles_owner_name", "owner", "name", unique=True),)
