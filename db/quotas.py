"""Counters of quotas over time, incremented before a job is accepted, so that parallel calls cannot exceed a limit."""

from __future__ import annotations

import time

from sqlalchemy import delete, literal, select, update

from db.database import Database
from db.sql import insert_ignore, now
from db.tables import QuotaCounter

KEPT_SECONDS = 3 * 86_400.0
"""Age at which counters are deleted. The longest time span of a quota is one day."""


def bucket(limit: str, span_seconds: int) -> tuple[str, float]:
    """Return (the counter's name for the present time span, seconds until the next span starts)."""
    number, into = divmod(time.time(), span_seconds)
    return f"{limit}:{int(number)}", span_seconds - into


def reserve(database: Database, key_id: str, name: str, amount: int, limit: int) -> bool:
    """Increment the counter by `amount` unless that would exceed `limit`; return whether it did."""
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
    """Undo a `reserve` for a job that was not accepted."""
    with database.write() as session:
        session.execute(
            update(QuotaCounter)
            .where(QuotaCounter.key_id == key_id, QuotaCounter.bucket == name)
            .values(used=QuotaCounter.used - amount)
        )


def used_today(database: Database, name: str) -> dict[str, int]:
    """Return key id -> amount of one counter, such as the first value of `bucket`."""
    query = select(QuotaCounter.key_id, QuotaCounter.used).where(QuotaCounter.bucket == name)
    with database.read() as session:
        return {key_id: int(used) for key_id, used in session.execute(query)}


def delete_old_counters(database: Database) -> int:
    """Delete counters of past time spans, which no `reserve` reads any longer; return how many."""
    with database.write() as session:
        old = delete(QuotaCounter).where(QuotaCounter.created_at < now() - literal(KEPT_SECONDS))
        return len(session.execute(old.returning(QuotaCounter.bucket)).all())
