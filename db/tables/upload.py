"""Pictures that users sent for image-to-image."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, EpochSeconds, Id


class Upload(Base):
    """A file in the store of uploads, decoded and written anew when it was taken in."""

    __tablename__ = "uploads"

    id: Mapped[Id] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(String(120))
    key: Mapped[str] = mapped_column(String(255))
    width: Mapped[int]
    height: Mapped[int]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[EpochSeconds]

    __table_args__ = (UniqueConstraint("key"), Index("ix_uploads_owner_id", "owner", "id"))
