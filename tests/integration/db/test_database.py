"""Pooled connections to Postgres."""

from __future__ import annotations

import pytest
from sqlalchemy import event, text

from db.database import Database


@pytest.fixture
def database_url(fresh_postgres: str) -> str:
    """Use Postgres: SQLite has no server that closes connections."""
    return fresh_postgres


def test_connections_that_the_server_closed_are_replaced(database: Database) -> None:
    with database.read() as first, database.read() as second:
        first.scalar(text("SELECT 1"))
        closed = second.scalar(text("SELECT pg_backend_pid()"))
    other = Database(str(database.url.render_as_string(hide_password=False)))
    with other.write() as session:
        others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        ended = session.scalars(text(f"SELECT pg_terminate_backend(pid, 60000) {others}")).all()  # waits until it has ended
    other.dispose()
    assert ended == [True, True]
    for _ in range(2):
        with database.write() as session:
            assert session.scalar(text("SELECT pg_backend_pid()")) != closed


def test_an_open_connection_is_used_without_a_ping(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    pings: list[object] = []
    monkeypatch.setattr(database.engine.dialect, "do_ping", pings.append)
    opened: list[object] = []
    event.listen(database.engine, "connect", lambda connection, _: opened.append(connection))
    for _ in range(3):
        with database.read() as session:
            assert session.scalar(text("SELECT 1")) == 1
    assert (len(opened), pings) == (1, [])


def test_the_server_ends_sessions_of_vanished_hosts_and_frozen_transactions(database: Database) -> None:
    """Until then they hold their locks; the limits must outlive a transaction that was rolled back."""
    with database.engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        connection.rollback()
        limit = connection.scalar(text("SHOW idle_in_transaction_session_timeout"))
        keepalives = connection.scalar(
            text("SELECT count(*) FROM pg_settings WHERE name LIKE 'tcp_%' AND source = 'session'")
        )
    assert (limit, keepalives) == ("30s", 4)
