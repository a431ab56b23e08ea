"""Prepared statements take lists of any length and raise the errors that callers handle."""

from __future__ import annotations

import pytest
from sqlalchemy import Integer, bindparam, func, insert, literal_column, select, text, tuple_
from sqlalchemy.exc import IntegrityError

from core.errors import Unavailable
from db.database import Database
from db.prepared import Prepared, core_table
from db.tables import IdempotencyKey

KEYS = core_table(IdempotencyKey)
NAMES = ("owner", "key", "request_hash", "job_id", "answer", "created_at")
ADD = Prepared(insert(KEYS).values({name: bindparam(name, type_=KEYS.c[name].type) for name in NAMES}))
FIND = Prepared(
    select(KEYS.c.key, KEYS.c.answer)
    .where(tuple_(KEYS.c.owner, KEYS.c.key).in_(bindparam("wanted", expanding=True)), KEYS.c.request_hash == "h%")
    .order_by(KEYS.c.key),
    ["wanted"],
)


def row(key: str, **changes: object) -> dict[str, object]:
    values = {"owner": "ann", "key": key, "request_hash": "h%", "job_id": "", "answer": {"a": [key]}, "created_at": 1.5}
    return values | changes


def test_lists_may_have_any_length_and_values_are_converted(database: Database) -> None:
    with database.write_rows() as connection:
        ADD.run(connection, [row("x"), row("y"), row("z", answer=None)])
    with database.write() as session:
        ADD.run(session, row("other", request_hash="h"))
    found = [("x", {"a": ["x"]}), ("y", {"a": ["y"]}), ("z", None)]
    wanted = [("ann", "x"), ("ann", "y"), ("ann", "z"), ("ann", "other"), ("bob", "x")]
    with database.read_rows() as connection:
        for length in (0, 1, 3, 5, 2):
            rows = FIND.rows(connection, {"wanted": wanted[:length]})
            assert [(each["key"], each["answer"]) for each in rows] == found[:length]


def test_a_parameter_may_come_twice_and_percent_signs_stay(database: Database) -> None:
    number = bindparam("number", type_=Integer())
    statement = Prepared(
        select((number % 3).label("rest"), number.label("same"), literal_column("'5%(a)s %%'").label("text"))
    )
    with database.read_rows() as connection:
        assert statement.rows(connection, {"number": 8}) == [{"rest": 2, "same": 8, "text": "5%(a)s %%"}]


def test_a_refused_statement_raises_sqlalchemys_error_and_writes_nothing(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write_rows() as connection:
        ADD.run(connection, row("x"))
        ADD.run(connection, [row("y"), row("x")])
    with database.read_rows() as connection:
        assert FIND.rows(connection, {"wanted": [("ann", "x"), ("ann", "y")]}) == []


def test_a_connection_lost_in_a_transaction_is_unavailable_and_replaced(fresh_postgres: str) -> None:
    database = Database(fresh_postgres)
    answer = Prepared(select(bindparam("given", type_=KEYS.c.key.type).label("answer")))
    try:
        with pytest.raises(Unavailable), database.write_rows() as connection, database.read() as other:
            (mine,) = Prepared(select(func.pg_backend_pid().label("pid"))).rows(connection, {})
            other.execute(text("SELECT pg_terminate_backend(:pid, 60000)"), mine)
            answer.rows(connection, {"given": "x"})
        with database.write_rows() as connection:
            assert answer.rows(connection, {"given": "x"}) == [{"answer": "x"}]
    finally:
        database.dispose()
