"""Webhook endpoints, and the messages to them on their way; how messages come about: db.webhook_messages."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, insert, literal, select, update

from core.errors import NotFound
from core.ids import new_id
from core.webhooks import RETRY_SECONDS
from db.clock import now
from db.database import Database
from db.tables import WebhookDelivery, WebhookEndpoint

_LEASE_SECONDS = 60.0


def add_endpoint(database: Database, owner: str | None, url: str, secret: str, events: list[str]) -> WebhookEndpoint:
    """Notes an address."""
    values = {"id": new_id(), "owner": owner, "url": url, "secret": secret, "events": events}
    with database.write() as session:
        return session.scalars(insert(WebhookEndpoint).values(**values, created_at=now()).returning(WebhookEndpoint)).one()


def list_endpoints(database: Database, owner: str | None) -> Sequence[WebhookEndpoint]:
    """An owner's, or everybody's for None."""
    query = select(WebhookEndpoint).order_by(WebhookEndpoint.id)
    with database.read() as session:
        return session.scalars(query if owner is None else query.where(WebhookEndpoint.owner == owner)).all()


def remove_endpoint(database: Database, endpoint_id: str, owner: str | None) -> None:
    """Forgets an address; messages on their way to it are given up. NotFound when it is not this owner's."""
    mine: list[ColumnElement[bool]] = [WebhookEndpoint.owner == owner] if owner is not None else []
    with database.write() as session:
        gone = session.execute(
            delete(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id, *mine).returning(WebhookEndpoint.id)
        ).first()
        if gone is None:
            raise NotFound("There is no webhook of that id.", code="webhook_not_found")
        session.execute(
            update(WebhookDelivery)
            .where(WebhookDelivery.target == endpoint_id, WebhookDelivery.status == "pending")
            .values(status="failed", last_error="The webhook was removed.", next_at=None)
        )


def claim_due(database: Database, limit: int) -> Sequence[WebhookDelivery]:
    """Messages to try now; nobody else gets them for a minute."""
    due = (
        select(WebhookDelivery.id)
        .where(WebhookDelivery.status == "pending", WebhookDelivery.next_at <= now())
        .order_by(WebhookDelivery.next_at)
        .limit(limit)
    )
    with database.read() as session:
        if session.scalar(due.limit(1)) is None:
            return []
    with database.write() as session:
        ids = session.scalars(due.with_for_update(skip_locked=True)).all()
        return session.scalars(
            update(WebhookDelivery)
            .where(WebhookDelivery.id.in_(ids))
            .values(next_at=now() + literal(_LEASE_SECONDS), tries=WebhookDelivery.tries + 1)
            .returning(WebhookDelivery)
        ).all()


def note_delivered(database: Database, delivery_id: str, http_status: int, seconds: float) -> None:
    """It was taken."""
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


def note_failed(database: Database, delivery: WebhookDelivery, error: str, http_status: int | None, seconds: float) -> None:
    """It was not taken: later again, or given up after the last try. 410 disables the endpoint."""
    gone = http_status == 410
    last = gone or delivery.tries > len(RETRY_SECONDS)
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
        if gone:
            session.execute(update(WebhookEndpoint).where(WebhookEndpoint.id == delivery.target).values(disabled_at=now()))


def list_deliveries(
    database: Database,
    owner: str | None,
    *,
    job_id: str | None = None,
    status: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> Sequence[WebhookDelivery]:
    """Newest first."""
    query = select(WebhookDelivery).order_by(WebhookDelivery.id.desc()).limit(limit)
    query = query.where(WebhookDelivery.owner == owner) if owner is not None else query
    query = query.where(WebhookDelivery.job_id == job_id) if job_id is not None else query
    query = query.where(WebhookDelivery.status == status) if status is not None else query
    query = query.where(WebhookDelivery.id < before) if before is not None else query
    with database.read() as session:
        return session.scalars(query).all()


def redeliver(database: Database, delivery_id: str, owner: str | None) -> WebhookDelivery:
    """Sends a message again, with fresh tries; NotFound when it is not this owner's."""
    mine: list[ColumnElement[bool]] = [WebhookDelivery.owner == owner] if owner is not None else []
    with database.write() as session:
        row = session.scalar(
            update(WebhookDelivery)
            .where(WebhookDelivery.id == delivery_id, *mine)
            .values(status="pending", tries=0, next_at=now())
            .returning(WebhookDelivery)
            .execution_options(populate_existing=True)
        )
    if row is None:
        raise NotFound("There is no delivery of that id.", code="delivery_not_found")
    return row
