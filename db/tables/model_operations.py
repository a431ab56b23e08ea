"""Table of operations on a model's weights: pull, verify, remove."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from core.model_operations import OperationKind, OperationState
from db.tables.base import Base, EpochSeconds, Id, JsonObject

_KINDS = ", ".join(f"'{kind.value}'" for kind in OperationKind)
_STATES = ", ".join(f"'{state.value}'" for state in OperationState)
ACTIVE = text("state IN ('queued', 'running')")


class ModelOperation(Base):
    """One operation on one model. Only `db.model_operations` changes it."""

    __tablename__ = "model_operations"

    id: Mapped[Id] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    model: Mapped[str] = mapped_column(String(120))
    state: Mapped[str] = mapped_column(String(12))
    revision: Mapped[int]
    attempt: Mapped[int]
    """The number of the latest claim, and the fencing token: reports that name an older one are refused."""
    stage: Mapped[str | None] = mapped_column(String(32))
    detail: Mapped[str | None] = mapped_column(Text)
    """The file that is being worked on, or why the operation waits."""
    done_bytes: Mapped[int] = mapped_column(BigInteger)
    total_bytes: Mapped[int] = mapped_column(BigInteger)
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    result: Mapped[JsonObject | None]
    requested_by: Mapped[str] = mapped_column(String(120))
    executor: Mapped[str | None] = mapped_column(String(120))
    cancel_requested_at: Mapped[EpochSeconds | None]
    lease_until: Mapped[EpochSeconds | None]
    """While running: when another executor may take over. While queued: the earliest time of a claim; None: now."""
    created_at: Mapped[EpochSeconds]
    started_at: Mapped[EpochSeconds | None]
    ended_at: Mapped[EpochSeconds | None]

    __table_args__ = (
        CheckConstraint(f"kind IN ({_KINDS})", name="kind"),
        CheckConstraint(f"state IN ({_STATES})", name="state"),
    )


Index("uq_model_operations_active", ModelOperation.model, unique=True, sqlite_where=ACTIVE, postgresql_where=ACTIVE)
