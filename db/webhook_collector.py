"""Turn settled jobs into webhook messages, each change once, by reading the history of jobs.

The cursor in the database is the truth: whoever collects reads all events behind it, so that no message is lost, however
late that is. When to collect is only a matter of delay. A process collects soon after a job settles that names a webhook of
its own, as the change's message in Redis says, or while there are receivers of other jobs. It looks for the latter, and for
events behind the cursor, every few seconds: that finds what Redis did not report, what other processes left, and receivers
that another process added. Without receivers, a job that names no webhook costs no query of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit

from sqlalchemy import exists, func, literal_column, or_, select, text, update
from sqlalchemy.orm import Session

from core.ids import new_id
from core.lifecycle import SETTLED
from db.database import Database
from db.prepared import Prepared
from db.sql import insert_ignore, now
from db.tables import Job, JobEvent, WebhookCursor, WebhookDelivery, WebhookEndpoint
from db.webhooks import OWN

_HOST_COLUMN = 255


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
        self.has_targets = True
        """Whether there are receivers of jobs that name none of their own, as of the last look."""
        self._read_ahead_to = 0
        """Event id up to which events were read at once."""

    def is_idle(self) -> bool:
        """Return whether there is nothing to collect and no message waits to be sent, in one query for quiet times."""
        with self._database.read_rows() as connection:
            (row,) = _quiet().rows(connection, {})
        self.has_targets = self._farm is not None or bool(row["endpoints"])
        is_collected = row["cursor"] is not None and row["cursor"] >= (row["latest"] or 0)
        return is_collected and not row["pending"]

    def collect(self) -> int:
        """Write the missing messages, and return how many."""
        with self._database.read() as session:
            cursor = session.get(WebhookCursor, 1)
            if cursor is not None and cursor.event_id >= _read_position(session).latest:
                return 0
        with self._database.write() as session:
            if cursor is None:
                insert_ignore(session, WebhookCursor, id=1, event_id=_first_position(session))
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
        self.has_targets = bool(targets)
        rows = _settled_between(session, after, latest, only_own_webhooks=not targets)
        written = sum(_write_messages(session, event, job, targets) for event, job in rows)
        return rows[-1][0].id if len(rows) == _SCANNED_EVENTS else latest, written


@cache
def _quiet() -> Prepared:
    cursor = select(WebhookCursor.event_id).where(WebhookCursor.id == 1).scalar_subquery()
    latest = select(func.max(JobEvent.id)).scalar_subquery()
    pending = exists().where(WebhookDelivery.status == literal_column("'pending'"))
    endpoints = exists().where(WebhookEndpoint.disabled_at.is_(None))
    columns = {"cursor": cursor, "latest": latest, "pending": pending, "endpoints": endpoints}
    return Prepared(select(*[each.label(name) for name, each in columns.items()]))


def rewind_cursor(session: Session) -> None:
    """Move the cursor back after events were deleted: SQLite assigns the ids of the newest ones again."""
    if session.get_bind().dialect.name == "sqlite":
        latest = select(func.coalesce(func.max(JobEvent.id), 0)).scalar_subquery()
        session.execute(update(WebhookCursor).where(WebhookCursor.event_id > latest).values(event_id=latest))


def _first_position(session: Session) -> int:
    """Return the event id at which messages begin.

    A server may end before its first collect: jobs that named a webhook, and those after the first endpoint was added, get
    their messages nevertheless. Other jobs that settled before get none.
    """
    has_webhook = Job.requested["webhook"]["url"].as_string().is_not(None)
    first_endpoint = select(func.min(WebhookEndpoint.created_at)).scalar_subquery()
    events = select(func.min(JobEvent.id)).join(Job, Job.id == JobEvent.job_id)
    first = session.scalar(events.where(or_(has_webhook, JobEvent.at >= first_endpoint)))
    return _read_position(session).latest if first is None else first - 1


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
