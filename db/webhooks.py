"""Webhook endpoints: create, list and remove them, and encrypt secrets of earlier versions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import ColumnElement, delete, func, insert, select, update

from core.errors import Conflict, NotFound
from core.ids import new_id
from db.database import Database
from db.sql import lock_name, now
from db.tables import Batch, Job, WebhookCursor, WebhookDelivery, WebhookEndpoint

FARM, OWN = "settings", "job"
"""Targets that are no endpoint: the address in the settings, and the one in a job's request."""
DELETED = "The webhook was deleted."


def add_endpoint(
    database: Database, owner: str | None, url: str, secret: str, events: list[str], *, limit: int = 0
) -> WebhookEndpoint:
    """Add an endpoint; `owner` None receives messages about all jobs, empty `events` about all settled statuses.

    `secret` is encrypted. Raises Conflict `too_many_webhooks` when the owner has `limit` endpoints; 0 for no limit.
    """
    values = {"id": new_id(), "owner": owner, "url": url, "secret": secret, "events": events}
    with database.write() as session:
        if limit:
            lock_name(session, f"webhooks:{owner}")
            owned = WebhookEndpoint.owner.is_(None) if owner is None else WebhookEndpoint.owner == owner
            count = session.scalar(select(func.count()).select_from(WebhookEndpoint).where(owned)) or 0
            if count >= limit:
                raise Conflict(
                    f"You have {count} webhooks, and the limit is {limit}. Remove one that you do not need with DELETE "
                    "/v1/webhooks/{webhook_id}; the operator can raise IMAGEFARM_MAX_WEBHOOKS_PER_OWNER.",
                    code="too_many_webhooks",
                )
        return session.scalars(insert(WebhookEndpoint).values(**values, created_at=now()).returning(WebhookEndpoint)).one()


def list_endpoints(database: Database, owner: str | None) -> Sequence[WebhookEndpoint]:
    """List the endpoints of an owner, or all endpoints for None."""
    query = select(WebhookEndpoint).order_by(WebhookEndpoint.id)
    with database.read() as session:
        return session.scalars(query if owner is None else query.where(WebhookEndpoint.owner == owner)).all()


def remove_endpoint(database: Database, endpoint_id: str, owner: str | None) -> None:
    """Delete an endpoint and fail its pending messages. Raises NotFound when it is another owner's."""
    owned: list[ColumnElement[bool]] = [WebhookEndpoint.owner == owner] if owner is not None else []
    with database.write() as session:
        deleted = session.execute(
            delete(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id, *owned).returning(WebhookEndpoint.id)
        ).first()
        if deleted is None:
            raise NotFound("There is no webhook of that id.", code="webhook_not_found")
        session.execute(
            update(WebhookDelivery)
            .where(WebhookDelivery.target == endpoint_id, WebhookDelivery.status == "pending")
            .values(status="failed", last_error=DELETED, next_at=None)
        )


_ROWS = 500


def encrypt_plain_secrets(database: Database, encrypt: Callable[[str], str]) -> int:
    """Encrypt the secrets that earlier versions stored plain, once for each database; return how many.

    `encrypt` returns an encrypted text unchanged.
    """
    with database.read() as session:
        cursor = session.get(WebhookCursor, 1)
    if cursor is None or cursor.secrets_encrypted_at is not None:
        return 0
    changed = _encrypt_endpoints(database, encrypt)
    changed += _encrypt_requests(database, Job, encrypt) + _encrypt_requests(database, Batch, encrypt)
    with database.write() as session:
        session.execute(update(WebhookCursor).values(secrets_encrypted_at=now()))
    return changed


def _encrypt_endpoints(database: Database, encrypt: Callable[[str], str]) -> int:
    changed = 0
    with database.write() as session:
        for row in session.scalars(select(WebhookEndpoint).with_for_update()):
            secret = encrypt(row.secret)
            changed += secret != row.secret
            row.secret = secret
    return changed


def _encrypt_requests(database: Database, table: type[Job] | type[Batch], encrypt: Callable[[str], str]) -> int:
    """Encrypt the secrets in stored requests, in parts, so that other writers do not wait for all of them."""
    changed, after = 0, ""
    has_secret = table.requested["webhook"]["secret"].as_string().is_not(None)
    while True:
        with database.read() as session:
            page = session.execute(
                select(table.id, table.requested).where(table.id > after, has_secret).order_by(table.id).limit(_ROWS)
            ).all()
        if not page:
            return changed
        with database.write() as session:
            for row_id, requested in page:
                webhook = requested["webhook"]
                secret = encrypt(webhook["secret"])
                if secret != webhook["secret"]:
                    kept = requested | {"webhook": webhook | {"secret": secret}}
                    session.execute(update(table).where(table.id == row_id).values(requested=kept))
                    changed += 1
        after = page[-1][0]
