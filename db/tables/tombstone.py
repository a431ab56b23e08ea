"""What remains of deleted jobs and images: enough to answer 410 instead of 404."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, EpochSeconds, Id


class Tombstone(Base):
    """`kind` is `job` or `image`; `owner` so that only those who could see it learn that it is gone."""

    __tablename__ = "tombstones"

    id: Mapped[Id] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(8))
    owner: Mapped[str] = mapped_column(String(120))
    deleted_at: Mapped[EpochSeconds]
