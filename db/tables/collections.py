"""Tables of collections and of the images in them."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, EpochSeconds, Id


class Collection(Base):
    """A named set of an owner's images."""

    __tablename__ = "collections"

    id: Mapped[Id] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(String(120))
    name: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[EpochSeconds]

    __table_args__ = (Index("uq_collections_owner_name", "owner", "name", unique=True),)


class CollectionImage(Base):
    """One image in a collection; it leaves when the image or the collection is deleted."""

    __tablename__ = "collection_images"

    collection_id: Mapped[Id] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True)
    image_id: Mapped[Id] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    added_at: Mapped[EpochSeconds]

    __table_args__ = (Index("ix_collection_images_image_id", "image_id"),)
