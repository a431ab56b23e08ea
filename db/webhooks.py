"""Webhook endpoints, the messages written for them from job events, and their deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, func, insert, literal, select, text, update
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.ids import new_id
from core.lifecycle import SETTLED
from core.webhooks import RETRY_SECONDS
from db.database import Database
from db.sql import insert_ignore, now
from db.tables import Job, JobEvent, WebhookCursor, WebhookDelivery, WebhookEndpoint

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


def mark_delivered(database: Database, delivery_id: str, http_status: int, seconds: float) -> None:
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


def mark_failed(database: Database, delivery: WebhookDelivery, error: str, http_status: int | None, seconds: float) -> None:
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


_SCANNED = 500
_TRANSACTIONS = text(
    "SELECT (SELECT max(id) FROM job_events), CAST(CAST(pg_snapshot_xmin(seen) AS text) AS bigint), "
    "CAST(CAST(pg_snapshot_xmax(seen) AS text) AS bigint) FROM pg_current_snapshot() AS seen"
)


@dataclass(frozen=True)
class Target:
    """Somebody who wants to hear; `owner` None hears of all jobs, `events` empty of all statuses."""

    id: str
    url: str
    secret: str
    owner: str | None = None
    events: Sequence[str] = ()

    def wants(self, job: Job, status: str) -> bool:
        """Whether this job's reaching that status is news to them."""
        return self.owner in (None, job.owner) and (not self.events or status in self.events)


@dataclass(frozen=True)
class _HistoryPosition:
    """The newest event, and where the transactions stood: all below `ended` have ended, all from `begun` on were to come."""

    latest: int
    ended: int = 0
    begun: int = 0


class Collector:
    """Writes messages about jobs that settled; one per process, several share the work through the cursor."""

    def __init__(self, database: Database, farm: Target | None, default_secret: str) -> None:
        self._database, self._farm, self._default_secret = database, farm, default_secret
        self._mark: _HistoryPosition | None = None
        """Read for good up to here, once no transaction that was under way then is still."""
        self._ahead = 0
        """Read at once up to here."""

    def collect(self) -> int:
        """How many messages are new."""
        with self._database.read() as session:
            cursor = session.get(WebhookCursor, 1)
            if cursor is not None and cursor.event_id >= _read_position(session).latest:
                return 0
        with self._database.write() as session:
            # What settled before webhooks were first looked after is not news.
            insert_ignore(session, WebhookCursor, id=1, event_id=_read_position(session).latest)
            held = session.get_one(WebhookCursor, 1, with_for_update=True, populate_existing=True)
            return self._read_on(session, held)

    def _read_on(self, session: Session, cursor: WebhookCursor) -> int:
        sight = _read_position(session)
        made = 0
        mark = self._mark = self._mark or sight
        if sight.ended >= mark.begun:
            latest = min(mark.latest, sight.latest)  # the newest may have been deleted since
            reached, made = self._write(session, cursor.event_id, latest)
            cursor.event_id = max(cursor.event_id, reached)
            self._mark = None if reached >= latest else mark
        self._ahead = max(self._ahead, cursor.event_id)
        if self._ahead < sight.latest:
            self._ahead, early = self._write(session, self._ahead, sight.latest)
            made += early
        return made

    def _write(self, session: Session, after: int, latest: int) -> tuple[int, int]:
        """How far it came, and how many messages are new."""
        targets = _targets(session, self._farm)
        rows = _settled_between(session, after, latest, everybody=bool(targets))
        made = sum(_write_messages(session, event, job, targets, self._default_secret) for event, job in rows)
        return rows[-1][0].id if len(rows) == _SCANNED else latest, made


def rewind_cursor(session: Session) -> None:
    """After events were deleted: SQLite gives the numbers of the newest out again, and what gets them must be read."""
    if session.get_bind().dialect.name == "sqlite":
        latest = select(func.coalesce(func.max(JobEvent.id), 0)).scalar_subquery()
        session.execute(update(WebhookCursor).where(WebhookCursor.event_id > latest).values(event_id=latest))


def _read_position(session: Session) -> _HistoryPosition:
    """On SQLite one transaction writes at a time, so numbers and commits have the same order."""
    if session.get_bind().dialect.name == "sqlite":
        return _HistoryPosition(session.scalar(select(func.max(JobEvent.id))) or 0)
    latest, ended, begun = session.execute(_TRANSACTIONS).one()
    return _HistoryPosition(latest or 0, ended, begun)


def _settled_between(session: Session, after: int, latest: int, *, everybody: bool) -> list[tuple[JobEvent, Job]]:
    """With `everybody` False, only jobs that brought an address of their own."""
    query = (
        select(JobEvent, Job)
        .join(Job, Job.id == JobEvent.job_id)
        .where(JobEvent.id > after, JobEvent.id <= latest, JobEvent.to_status.in_(SETTLED))
        .order_by(JobEvent.id)
        .limit(_SCANNED)
    )
    if not everybody:
        query = query.where(Job.requested["webhook"]["url"].as_string().is_not(None))
    return [(event, job) for event, job in session.execute(query)]


def _targets(session: Session, farm: Target | None) -> list[Target]:
    rows = session.scalars(select(WebhookEndpoint).where(WebhookEndpoint.disabled_at.is_(None))).all()
    found = [Target(row.id, row.url, row.secret, row.owner, tuple(row.events)) for row in rows]
    return found + ([farm] if farm is not None else [])


def _write_messages(session: Session, event: JobEvent, job: Job, targets: list[Target], default_secret: str) -> int:
    asked = job.requested.get("webhook")
    own = (
        [Target("job", asked["url"], asked.get("secret") or default_secret, None, asked.get("events") or ())]
        if asked
        else []
    )
    return sum(
        insert_ignore(
            session,
            WebhookDelivery,
            id=new_id(),
            job_id=job.id,
            revision=event.revision,
            target=target.id,
            owner=job.owner,
            url=target.url,
            secret=target.secret,
            event=f"job.{event.to_status}",
            status="pending",
            tries=0,
            next_at=now(),
            created_at=now(),
        )
        for target in [*own, *targets]
        if target.wants(job, event.to_status)
    )
