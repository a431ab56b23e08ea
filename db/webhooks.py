"""Webhook endpoints, the messages written for them from job events, and their deliveries.

Each message is a row before it is sent, so that a restart loses none. The Collector reads job events in the order of their
ids. On Postgres, a transaction with a lower id may commit later than one with a higher id, so the Collector reads events
twice: at once, and again after all transactions that were open when the ids were read have ended. A message that exists
already is not written again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, delete, func, insert, literal, literal_column, select, text, update
from sqlalchemy.orm import Session

from core.errors import Conflict, NotFound
from core.ids import new_id
from core.lifecycle import SETTLED
from core.webhooks import RETRY_SECONDS
from db.database import Database
from db.sql import insert_ignore, lock_name, now
from db.tables import Batch, Job, JobEvent, WebhookCursor, WebhookDelivery, WebhookEndpoint

_LEASE_SECONDS = 60.0
FARM, OWN = "settings", "job"
"""Targets that are no endpoint: the address in the settings, and the one in a job's request."""
_HOST_COLUMN = 255
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
    status: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> Sequence[WebhookDelivery]:
    """List deliveries, newest first; `before` is the id of the last one of the previous page."""
    query = select(WebhookDelivery).order_by(WebhookDelivery.id.desc()).limit(limit)
    query = query.where(WebhookDelivery.owner == owner) if owner is not None else query
    query = query.where(WebhookDelivery.job_id == job_id) if job_id is not None else query
    query = query.where(WebhookDelivery.status == status) if status is not None else query
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


_SCANNED_EVENTS = 500
_TRANSACTIONS = text(
    "SELECT (SELECT max(id) FROM job_events), CAST(CAST(pg_snapshot_xmin(seen) AS text) AS bigint), "
    "CAST(CAST(pg_snapshot_xmax(seen) AS text) AS bigint) FROM pg_current_snapshot() AS seen"
)


@dataclass(frozen=True)
class Target:
    """A receiver of messages: about all jobs for `owner` None, about all settled statuses for empty `events`."""

    id: str
    url: str
    owner: str | None = None
    events: Sequence[str] = ()

    def wants(self, job: Job, status: str) -> bool:
        """Return whether to send a message when this job reaches that status."""
        return self.owner in (None, job.owner) and (not self.events or status in self.events)


@dataclass(frozen=True)
class _HistoryPosition:
    """The newest event id at one moment, when transactions below `oldest_open` had ended and those from `next_transaction`
    on had not started.
    """

    latest: int
    oldest_open: int = 0
    next_transaction: int = 0


class Collector:
    """Writes messages about jobs that settled. One for each API process; they share the cursor in the database."""

    def __init__(self, database: Database, farm: Target | None) -> None:
        self._database, self._farm = database, farm
        self._pending: _HistoryPosition | None = None
        """Move the cursor up to here once all transactions that were open then have ended."""
        self._read_ahead_to = 0
        """Event id up to which events were read at once."""

    def collect(self) -> int:
        """Write the missing messages, and return how many."""
        with self._database.read() as session:
            cursor = session.get(WebhookCursor, 1)
            if cursor is not None and cursor.event_id >= _read_position(session).latest:
                return 0
        with self._database.write() as session:
            # Jobs that settled before the first collect get no messages.
            insert_ignore(session, WebhookCursor, id=1, event_id=_read_position(session).latest)
            cursor = session.get_one(WebhookCursor, 1, with_for_update=True, populate_existing=True)
            return self._advance(session, cursor)

    def _advance(self, session: Session, cursor: WebhookCursor) -> int:
        position = _read_position(session)
        written = 0
        pending = self._pending = self._pending or position
        if position.oldest_open >= pending.next_transaction:
            latest = min(pending.latest, position.latest)  # the newest events may have been deleted since
            reached, written = self._write(session, cursor.event_id, latest)
            cursor.event_id = max(cursor.event_id, reached)
            self._pending = None if reached >= latest else pending
        self._read_ahead_to = max(self._read_ahead_to, cursor.event_id)
        if self._read_ahead_to < position.latest:
            self._read_ahead_to, early = self._write(session, self._read_ahead_to, position.latest)
            written += early
        return written

    def _write(self, session: Session, after: int, latest: int) -> tuple[int, int]:
        """Write messages for the events in (after, latest]; return the last event id read and the number of new messages."""
        targets = _targets(session, self._farm)
        rows = _settled_between(session, after, latest, only_own_webhooks=not targets)
        written = sum(_write_messages(session, event, job, targets) for event, job in rows)
        return rows[-1][0].id if len(rows) == _SCANNED_EVENTS else latest, written


def rewind_cursor(session: Session) -> None:
    """Move the cursor back after events were deleted: SQLite assigns the ids of the newest ones again."""
    if session.get_bind().dialect.name == "sqlite":
        latest = select(func.coalesce(func.max(JobEvent.id), 0)).scalar_subquery()
        session.execute(update(WebhookCursor).where(WebhookCursor.event_id > latest).values(event_id=latest))


def _read_position(session: Session) -> _HistoryPosition:
    """Read the newest event id and the open transactions; on SQLite, ids and commits have the same order."""
    if session.get_bind().dialect.name == "sqlite":
        return _HistoryPosition(session.scalar(select(func.max(JobEvent.id))) or 0)
    latest, oldest_open, next_transaction = session.execute(_TRANSACTIONS).one()
    return _HistoryPosition(latest or 0, oldest_open, next_transaction)


def _settled_between(session: Session, after: int, latest: int, *, only_own_webhooks: bool) -> list[tuple[JobEvent, Job]]:
    """Read events of settling jobs; with `only_own_webhooks`, only of jobs whose request has a webhook."""
    query = (
        select(JobEvent, Job)
        .join(Job, Job.id == JobEvent.job_id)
        .where(JobEvent.id > after, JobEvent.id <= latest, JobEvent.to_status.in_(SETTLED))
        .order_by(JobEvent.id)
        .limit(_SCANNED_EVENTS)
    )
    if only_own_webhooks:
        query = query.where(Job.requested["webhook"]["url"].as_string().is_not(None))
    return [(event, job) for event, job in session.execute(query)]


def _targets(session: Session, farm: Target | None) -> list[Target]:
    rows = session.scalars(select(WebhookEndpoint).where(WebhookEndpoint.disabled_at.is_(None))).all()
    found = [Target(row.id, row.url, row.owner, tuple(row.events)) for row in rows]
    return found + ([farm] if farm is not None else [])


def _write_messages(session: Session, event: JobEvent, job: Job, targets: list[Target]) -> int:
    webhook = job.requested.get("webhook")
    own = [Target(OWN, webhook["url"], job.owner, webhook.get("events") or ())] if webhook else []
    return sum(
        insert_ignore(
            session,
            WebhookDelivery,
            id=new_id(),
            job_id=job.id,
            revision=event.revision,
            target=target.id,
            owner=job.owner,
            # A target for all owners waits for itself only, and no owner waits for it.
            lane=target.owner or f"target:{target.id}",
            url=target.url,
            host=(urlsplit(target.url).hostname or "")[:_HOST_COLUMN],
            event=f"job.{event.to_status}",
            status="pending",
            tries=0,
            next_at=now(),
            created_at=now(),
        )
        for target in [*own, *targets]
        if target.wants(job, event.to_status)
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
