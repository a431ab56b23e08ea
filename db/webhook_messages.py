"""Messages to webhooks, written from the jobs' history: each as a row before it is sent, so a restart loses none.

The history is read in the order of its numbers, but on Postgres a transaction with a lower number may commit later than one
with a higher. So it is read twice: once at once, and once for good when every transaction has ended that was under way
when the numbers were seen. A message that is there already is not written again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from core.ids import new_id
from core.lifecycle import SETTLED
from db.clock import now
from db.database import Database
from db.tables import Job, JobEvent, WebhookCursor, WebhookDelivery, WebhookEndpoint
from db.upsert import insert_ignore

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
class _Sight:
    """The newest event, and where the transactions stood: all below `ended` have ended, all from `begun` on were to come."""

    latest: int
    ended: int = 0
    begun: int = 0


class Collector:
    """Writes messages about jobs that settled; one per process, several share the work through the cursor."""

    def __init__(self, database: Database, farm: Target | None, default_secret: str) -> None:
        self._database, self._farm, self._default_secret = database, farm, default_secret
        self._mark: _Sight | None = None
        """Read for good up to here, once no transaction that was under way then is still."""
        self._ahead = 0
        """Read at once up to here."""

    def collect(self) -> int:
        """How many messages are new."""
        with self._database.read() as session:
            cursor = session.get(WebhookCursor, 1)
            if cursor is not None and cursor.event_id >= _look(session).latest:
                return 0
        with self._database.write() as session:
            # What settled before webhooks were first looked after is not news.
            insert_ignore(session, WebhookCursor, id=1, event_id=_look(session).latest)
            held = session.get_one(WebhookCursor, 1, with_for_update=True, populate_existing=True)
            return self._read_on(session, held)

    def _read_on(self, session: Session, cursor: WebhookCursor) -> int:
        sight = _look(session)
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


def give_numbers_back(session: Session) -> None:
    """After events were deleted: SQLite gives the numbers of the newest out again, and what gets them must be read."""
    if session.get_bind().dialect.name == "sqlite":
        latest = select(func.coalesce(func.max(JobEvent.id), 0)).scalar_subquery()
        session.execute(update(WebhookCursor).where(WebhookCursor.event_id > latest).values(event_id=latest))


def _look(session: Session) -> _Sight:
    """On SQLite one transaction writes at a time, so numbers and commits have the same order."""
    if session.get_bind().dialect.name == "sqlite":
        return _Sight(session.scalar(select(func.max(JobEvent.id))) or 0)
    latest, ended, begun = session.execute(_TRANSACTIONS).one()
    return _Sight(latest or 0, ended, begun)


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
