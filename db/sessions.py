"""Start, look up, end and sweep the web page's sessions."""

from __future__ import annotations

from sqlalchemy import delete, insert, literal, select, update

from db.api_keys import active_key
from db.database import Database
from db.sql import now
from db.tables import ApiKey, PageSession


def start_session(database: Database, session_id: str, key_id: str, seconds: float) -> None:
    """Store a session of a key."""
    with database.write() as session:
        session.execute(
            insert(PageSession).values(id=session_id, key_id=key_id, created_at=now(), expires_at=now() + literal(seconds))
        )


def key_of_session(database: Database, session_id: str) -> ApiKey | None:
    """Return the key of a session; None when either has ended or is unknown."""
    current = select(PageSession.key_id).where(
        PageSession.id == session_id, PageSession.revoked_at.is_(None), PageSession.expires_at > now()
    )
    with database.read() as session:
        key_id = session.scalar(current)
    return active_key(database, key_id) if key_id is not None else None


def end_session(database: Database, session_id: str) -> None:
    """Revoke a session; an unknown or ended one stays as it is."""
    with database.write() as session:
        session.execute(
            update(PageSession)
            .where(PageSession.id == session_id, PageSession.revoked_at.is_(None))
            .values(revoked_at=now())
        )


def delete_ended(database: Database) -> int:
    """Delete sessions that have expired or were revoked; return how many."""
    ended = (PageSession.expires_at < now()) | PageSession.revoked_at.is_not(None)
    with database.write() as session:
        return len(session.execute(delete(PageSession).where(ended).returning(PageSession.id)).all())
