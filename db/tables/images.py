"""Tables of stored images and of uploads."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, SmallInteger, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, EpochSeconds, Id, JsonObject

_RATED = text("rating IS NOT NULL")


class Image(Base):
    """An image file in the store and how it was rendered. The row is written after the file is durable on disk."""

    __tablename__ = "images"

    id: Mapped[Id] = mapped_column(primary_key=True)
    job_id: Mapped[Id] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    attempt: Mapped[int]
    index: Mapped[int]
    owner: Mapped[str] = mapped_column(String(120))
    key: Mapped[str] = mapped_column(String(255))
    width: Mapped[int]
    height: Mapped[int]
    seed: Mapped[int] = mapped_column(BigInteger)
    format: Mapped[str] = mapped_column(String(8))
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    record: Mapped[JsonObject]
    """core.render.RenderRecord and timings."""
    rating: Mapped[int | None] = mapped_column(SmallInteger)
    created_at: Mapped[EpochSeconds]

    __table_args__ = (
        # The last protection against a job that ends twice.
        UniqueConstraint("job_id", "index"),
        UniqueConstraint("key"),
        Index("ix_images_created_at", "created_at"),
        Index("ix_images_owner_id", "owner", "id"),
        # Only what people rated, in the gallery's order: of all owners, and of one.
        Index("ix_images_rated", "id", "rating", sqlite_where=_RATED, postgresql_where=_RATED),
        Index("ix_images_owner_rated", "owner", "id", "rating", sqlite_where=_RATED, postgresql_where=_RATED),
    )


class Upload(Base):
    """A file in the store of uploads; the API decodes and re-encodes what users send before it is stored."""

    __tablename__ = "uploads"

    id: Mapped[Id] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(String(120))
    key: Mapped[str] = mapped_column(String(255))
    width: Mapped[int]
    height: Mapped[int]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[EpochSeconds]

    __table_args__ = (
        UniqueConstraint("key"),
        Index("ix_uploads_owner_id", "owner", "id"),
        Index("ix_uploads_created_at", "created_at"),
    )
