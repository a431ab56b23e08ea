"""Tables of batches and their jobs."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, EpochSeconds, Id, JsonObject


class Batch(Base):
    """The request of a batch, of which `total` jobs were submitted in one transaction."""

    __tablename__ = "batches"

    id: Mapped[Id] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(String(120))
    name: Mapped[str | None] = mapped_column(String(200))
    total: Mapped[int]
    requested: Mapped[JsonObject]
    created_at: Mapped[EpochSeconds]

    __table_args__ = (Index("ix_batches_owner_id", "owner", "id"),)


class BatchJob(Base):
    """The position of one job in its batch; `axes` are its values on the batch's axes."""

    __tablename__ = "batch_jobs"

    batch_id: Mapped[Id] = mapped_column(ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[Id] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    axes: Mapped[JsonObject]

    __table_args__ = (Index("ix_batch_jobs_job_id", "job_id"),)
