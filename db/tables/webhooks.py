"""Tables of webhook endpoints, deliveries and the cursor over job events."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, EpochSeconds, Id


class WebhookEndpoint(Base):
    """An address that receives messages about the jobs of `owner`, or about all jobs when that is None."""

    __tablename__ = "webhook_endpoints"

    id: Mapped[Id] = mapped_column(primary_key=True)
    owner: Mapped[str | None] = mapped_column(String(120))
    url: Mapped[str] = mapped_column(String(2000))
    secret: Mapped[str] = mapped_column(Text)
    """Encrypted; plain in rows of versions before 0.2 until the API has encrypted them."""
    events: Mapped[list[str]]
    """Statuses to send messages about; empty: every settled status."""
    created_at: Mapped[EpochSeconds]
    disabled_at: Mapped[EpochSeconds | None]


class WebhookDelivery(Base):
    """One message about one revision of one job; its id is the `webhook-id` of every try."""

    __tablename__ = "webhook_deliveries"

    id: Mapped[Id] = mapped_column(primary_key=True)
    job_id: Mapped[Id] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    revision: Mapped[int]
    target: Mapped[str] = mapped_column(String(36))
    """The endpoint's id, or `job` for the address in a job's request."""
    owner: Mapped[str] = mapped_column(String(120))
    lane: Mapped[str] = mapped_column(String(120))
    """Whose turn the message takes: the owner who asked for it, or the endpoint when it is for all owners."""
    url: Mapped[str] = mapped_column(String(2000))
    host: Mapped[str] = mapped_column(String(255))
    event: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(12))
    """pending, delivered or failed (no tries left)."""
    tries: Mapped[int]
    next_at: Mapped[EpochSeconds | None]
    last_status: Mapped[int | None]
    last_error: Mapped[str | None] = mapped_column(Text)
    last_seconds: Mapped[EpochSeconds | None]
    created_at: Mapped[EpochSeconds]
    delivered_at: Mapped[EpochSeconds | None]

    __table_args__ = (
        UniqueConstraint("job_id", "revision", "target"),
        Index("ix_webhook_deliveries_owner_id", "owner", "id"),
    )


_PENDING = text("status = 'pending'")
Index("ix_webhook_deliveries_due", WebhookDelivery.next_at, sqlite_where=_PENDING, postgresql_where=_PENDING)
Index(
    "ix_webhook_deliveries_lane",
    WebhookDelivery.lane,
    WebhookDelivery.next_at,
    sqlite_where=_PENDING,
    postgresql_where=_PENDING,
)

# For lists by status, as those of jobs.
for _status in ("pending", "delivered", "failed"):
    _of_status = text(f"status = '{_status}'")
    for _name, _columns in (
        (f"ix_webhook_deliveries_{_status}", [WebhookDelivery.id]),
        (f"ix_webhook_deliveries_{_status}_owner", [WebhookDelivery.owner, WebhookDelivery.id]),
    ):
        Index(_name, *_columns, sqlite_where=_of_status, postgresql_where=_of_status)


class WebhookCursor(Base):
    """The last job event that messages were written for; one row."""

    __tablename__ = "webhook_cursor"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    event_id: Mapped[int] = mapped_column(BigInteger)
    secrets_encrypted_at: Mapped[EpochSeconds | None]
    """When the plain secrets of earlier versions were all encrypted."""
