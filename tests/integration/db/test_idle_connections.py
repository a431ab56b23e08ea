"""Idle connections to Postgres that the server has closed are replaced before they are used."""

from __future__ import annotations

from sqlalchemy import event, text

from db.database import Database


def test_a_pool_whose_connections_were_closed_by_the_server_reconnects(fresh_postgres: str) -> None:
    database, other = Database(fresh_postgres), Database(fresh_postgres)
    others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
    try:
        with database.read() as first, database.read() as second:
            first.execute(text("SELECT 1"))
            second.execute(text("SELECT 1"))
        with other.read() as session:
            ended = session.scalars(text(f"SELECT pg_terminate_backend(pid, 60000) {others}")).all()  # waits for the end
            assert ended == [True, True]
        for _ in range(3):
            with database.write() as session:
                assert session.execute(text("SELECT 1")).scalar_one() == 1
    finally:
        database.dispose()
        other.dispose()


def test_a_live_connection_costs_no_extra_round_trip(fresh_postgres: str) -> None:
    database = Database(fresh_postgres)
    pings: list[object] = []
    try:
        with database.read() as session:
            connection = session.connection().connection.dbapi_connection
            assert connection is not None
        event.listen(database.engine, "invalidate", lambda *arguments: pings.append(arguments))
        for _ in range(5):
            with database.read() as session:
                assert session.connection().connection.dbapi_connection is connection
        assert not pings
    finally:
        database.dispose()
