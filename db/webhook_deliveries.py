"""Webhook messages: claim those that are due, record their results, list and resend them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sqlalchemy import ColumnElement, literal, literal_column, select, text, update
from sqlalchemy.orm import Session

from core.errors import Conflict, NotFound
from core.webhooks import RETRY_SECONDS
from db.database import Database
from db.sql import now
from db.tables import WebhookDelivery, WebhookEndpoint
from db.webhooks import DELETED, FARM, OWN

_LEASE_SECONDS = 60.0


@dataclass
class Sending:
    """What one sender has on the way, and its limits: of messages in all, for a lane, and for a host."""

    total: int
    per_lane: int
    per_host: int
    lanes: Counter[str] = field(default_factory=Counter)
    hosts: Counter[str] = field(default_factory=Counter)
    last_lane: str = ""
    """The lane whose turn was last: the next claim starts behind it."""

    def copy(self) -> Sending:
        """Return a copy, for a claim on another thread."""
        return replace(self, lanes=Counter(self.lanes), hosts=Counter(self.hosts))

    def add(self, delivery: WebhookDelivery) -> None:
        """Count a message that is being sent."""
        self.lanes[delivery.lane] += 1
        self.hosts[delivery.host] += 1
        self.last_lane = delivery.lane

    def remove(self, delivery: WebhookDelivery) -> None:
        """Count a message no more."""
        for counter, name in ((self.lanes, delivery.lane), (self.hosts, delivery.host)):
            counter[name] -= 1
            if not counter[name]:
                del counter[name]

    @property
    def room(self) -> int:
        """Return how many more messages may be sent."""
        return self.total - self.lanes.total()

    def may_send(self, lane: str) -> bool:
        """Return whether a message of this lane may be sent."""
        return self.room > 0 and self.lanes[lane] < self.per_lane

    def busy_hosts(self) -> list[str]:
        """Return the hosts that get no further message now."""
        return [host for host, count in self.hosts.items() if count >= self.per_host]


_LANES = text(
    "WITH RECURSIVE lanes(lane) AS ("
    "SELECT min(lane) FROM webhook_deliveries WHERE status = 'pending' "
    "UNION ALL SELECT (SELECT min(lane) FROM webhook_deliveries WHERE status = 'pending' AND lane > lanes.lane) "
    "FROM lanes WHERE lane IS NOT NULL) SELECT lane FROM lanes WHERE lane IS NOT NULL"
)
"""Every lane with pending messages, read from the index by skipping from one to the next."""


def any_pending(database: Database) -> bool:
    """Return whether a message waits to be sent, now or later."""
    query = select(literal(1)).where(WebhookDelivery.status == literal_column("'pending'")).limit(1)
    with database.read() as session:
        return session.connection().execute(query).first() is not None


def claim_due(database: Database, sending: Sending) -> list[WebhookDelivery]:
    """Claim messages that are due, one of each lane in turn, and count them in `sending`.

    Other senders do not get them for a minute.
    """
    if sending.room <= 0:
        return []
    due = (WebhookDelivery.status == literal_column("'pending'"), WebhookDelivery.next_at <= now())
    with database.read() as session:
        if session.scalar(select(WebhookDelivery.id).where(*due).limit(1)) is None:
            return []
    claimed: list[WebhookDelivery] = []
    with database.write() as session:
        waiting = [str(lane) for lane in session.scalars(_LANES)]
        lanes = [lane for lane in waiting if lane > sending.last_lane] + [
            lane for lane in waiting if lane <= sending.last_lane
        ]
        while lanes:
            lanes = [lane for lane in lanes if sending.may_send(lane) and _claim_one(session, due, lane, sending, claimed)]
    return claimed


def _claim_one(
    session: Session, due: Sequence[ColumnElement[bool]], lane: str, sending: Sending, claimed: list[WebhookDelivery]
) -> bool:
    oldest = (
        select(WebhookDelivery.id)
        .where(*due, WebhookDelivery.lane == lane, WebhookDelivery.host.not_in(sending.busy_hosts()))
        .order_by(WebhookDelivery.next_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    found = session.scalar(oldest)
    if found is None:
        return False
    row = session.scalars(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == found)
        .values(next_at=now() + literal(_LEASE_SECONDS), tries=WebhookDelivery.tries + 1)
        .returning(WebhookDelivery)
    ).one()
    sending.add(row)
    claimed.append(row)
    return True


def stored_secret(database: Database, delivery: WebhookDelivery, requested: Mapping[str, object]) -> str | None:
    """Return the secret of a message as it is stored, or None for the farm's; `requested` is the job's.

    Raises NotFound when the endpoint was deleted.
    """
    if delivery.target == FARM:
        return None
    if delivery.target == OWN:
        webhook = requested.get("webhook")
        secret = webhook.get("secret") if isinstance(webhook, dict) else None
        return str(secret) if secret else None
    with database.read() as session:
        secret = session.scalar(select(WebhookEndpoint.secret).where(WebhookEndpoint.id == delivery.target))
    if secret is None:
        raise NotFound(DELETED, code="webhook_not_found")
    return secret


def mark_delivered(database: Database, delivery_id: str, http_status: int, seconds: float) -> None:
    """Mark a message as delivered."""
    with database.write() as session:
        session.execute(
            update(WebhookDelivery)
            .where(WebhookDelivery.id == delivery_id)
            .values(
                status="delivered",
                next_at=None,
                last_status=http_status,
                last_error=None,
                last_seconds=seconds,
                delivered_at=now(),
            )
        )


def mark_failed(
    database: Database,
    delivery: WebhookDelivery,
    error: str,
    http_status: int | None,
    seconds: float,
    *,
    final: bool = False,
) -> None:
    """Schedule the next try, or mark the message as failed after the last one. HTTP 410 disables the endpoint."""
    disabled = http_status == 410
    last = final or disabled or delivery.tries > len(RETRY_SECONDS)
    later = None if last else now() + literal(RETRY_SECONDS[delivery.tries - 1])
    with database.write() as session:
        session.execute(
            update(WebhookDelivery)
            .where(WebhookDelivery.id == delivery.id)
            .values(
                status="failed" if last else "pending",
                next_at=later,
                last_status=http_status,
                last_error=error,
                last_seconds=seconds,
            )
        )
        if disabled:
            session.execute(update(WebhookEndpoint).where(WebhookEndpoint.id == delivery.target).values(disabled_at=now()))


def list_deliveries(
    database: Database,
    owner: str | None,
    *,
    job_id: str | None = None,
    status: Literal["pending", "delivered", "failed"] | None = None,
    before: str | None = None,
    limit: int = 50,
) -> Sequence[WebhookDelivery]:
    """List deliveries, newest first; `before` is the id of the last one of the previous page."""
    query = select(WebhookDelivery).order_by(WebhookDelivery.id.desc()).limit(limit)
    query = query.where(WebhookDelivery.owner == owner) if owner is not None else query
    query = query.where(WebhookDelivery.job_id == job_id) if job_id is not None else query
    if status in ("pending", "delivered", "failed"):  # as a literal, or the partial indexes do not apply
        query = query.where(WebhookDelivery.status == literal_column(f"'{status}'"))
    query = query.where(WebhookDelivery.id < before) if before is not None else query
    with database.read() as session:
        return session.scalars(query).all()


def redeliver(database: Database, delivery_id: str, owner: str | None) -> WebhookDelivery:
    """Queue a message again, with all its tries. Raises NotFound when it is another owner's.

    Raises Conflict `webhook_deleted` when its endpoint was deleted, and its secret with it.
    """
    owned: list[ColumnElement[bool]] = [WebhookDelivery.owner == owner] if owner is not None else []
    with database.write() as session:
        target = session.scalar(select(WebhookDelivery.target).where(WebhookDelivery.id == delivery_id, *owned))
        if target not in (None, FARM, OWN) and session.get(WebhookEndpoint, target) is None:
            raise Conflict("The webhook of this message was deleted: it cannot be signed any more.", code="webhook_deleted")
        row = session.scalar(
            update(WebhookDelivery)
            .where(WebhookDelivery.id == delivery_id, *owned)
            .values(status="pending", tries=0, next_at=now())
            .returning(WebhookDelivery)
            .execution_options(populate_existing=True)
        )
    if row is None:
        raise NotFound("There is no delivery of that id.", code="delivery_not_found")
    return row
