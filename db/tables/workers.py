"""Tables of workers and of the models that each serves, as the workers report them."""

from __future__ import annotations

from sqlalchemy import Double, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, EpochSeconds, JsonObject


class Worker(Base):
    """A worker. `state`: loading, ready, blocked, unloaded, draining, stopped or failed.

    `model` is the one that is loaded, else the one that was last or is being loaded.
    """

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
    alone_seconds: Mapped[float | None] = mapped_column(Double)
    """Seconds for a megapixel and a step of an image alone, of that report; None until measured, or by an older version."""
    host: Mapped[str | None] = mapped_column(String(255))
    """Name of its machine; None for workers of versions that did not report it."""
    version: Mapped[str | None] = mapped_column(String(40))
    paused_at: Mapped[EpochSeconds | None]
    quarantined_until: Mapped[EpochSeconds | None]
    """Set while it is in quarantine: until then it claims nothing, and from then on one job at a time."""
    quarantines: Mapped[int | None]
    """How often it was quarantined since its last success; each quarantine is longer than the last."""
    quarantine_reason: Mapped[str | None] = mapped_column(String(500))
    failures: Mapped[JsonObject | None]
    """Since its last success: `jobs`, id -> error code of each that failed here, and `at`, the last time."""
    drain_requested_at: Mapped[EpochSeconds | None]
    started_at: Mapped[EpochSeconds]
    seen_at: Mapped[EpochSeconds]


class WorkerModel(Base):
    """A model that a worker serves. `state`: loaded, loading, host_memory, on_disk or unavailable.

    `position` is its place in the worker's settings, the default model's 0. `message`: why it is unavailable.
    `load_seconds`: how long it took to load last. Requests are those of an administrator and are cleared once handled.
    """

    __tablename__ = "worker_models"

    worker: Mapped[str] = mapped_column(String(120), primary_key=True)
    model: Mapped[str] = mapped_column(String(64), primary_key=True)
    position: Mapped[int]
    state: Mapped[str] = mapped_column(String(12))
    message: Mapped[str | None] = mapped_column(String(2000))
    load_seconds: Mapped[float | None] = mapped_column(Double)
    state_at: Mapped[EpochSeconds]
    load_requested_at: Mapped[EpochSeconds | None]
    unload_requested_at: Mapped[EpochSeconds | None]


Index("ix_worker_models_model", WorkerModel.model)
