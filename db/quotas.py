"""Limits over time: counters that are raised before the work is accepted, so that parallel calls cannot slip past."""

from __future__ import annotations

import time

from sqlalchemy import delete, update

from db.database import Database
from db.sql import insert_ignore, now
from db.tables import QuotaCounter

_KEPT_SECONDS = 3 * 86_400.0


def bucket(limit: str, span_seconds: int) -> tuple[str, float]:
    """(the counter's name for the present span, seconds until the next span begins)."""
    number, into = divmod(time.time(), span_seconds)
    return f"{limit}:{int(number)}", span_seconds - into


def reserve(database: Database, key_id: str, name: str, amount: int, limit: int) -> bool:
    """Raises the counter by `amount` unless that would pass `limit`; whether it did."""
    with database.write() as session:
        insert_ignore(session, QuotaCounter, key_id=key_id, bucket=name, used=0, created_at=now())
        raised = session.execute(
            update(QuotaCounter)
            .where(QuotaCounter.key_id == key_id, QuotaCounter.bucket == name, QuotaCounter.used + amount <= limit)
            .values(used=QuotaCounter.used + amount)
            .returning(QuotaCounter.used)
        ).first()
        return raised is not None


def refund(database: Database, key_id: str, name: str, amount: int) -> None:
    """The work was not accepted after all."""
    with database.write() as session:
        session.execute(
            update(QuotaCounter)
            .where(QuotaCounter.key_id == key_id, QuotaCounter.bucket == name)
            .values(used=QuotaCounter.used - amount)
        )


def forget_old(database: Database) -> None:
    """Deletes counters of spans long past."""
    with database.write() as session:
        session.execute(delete(QuotaCounter).where(QuotaCounter.created_at < now() - _KEPT_SECONDS))
