"""Many clients that wait for operations on models cost one query at a time."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import event

from api import operation_waits
from api.operation_waits import OperationWaits
from core.ids import new_id
from core.model_operations import OperationKind
from db import model_operations
from db.database import Database

CLIENTS = 50


def test_all_waiting_clients_share_one_query(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation_waits, "POLL_SECONDS", 0.05)
    pull = model_operations.start(database, OperationKind.PULL, "demo", "ann").operation
    verify = model_operations.start(database, OperationKind.VERIFY, "sd-turbo", "ann").operation
    queries: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *given: queries.append(given[2]))

    async def wait_all() -> list[str | None]:
        waits = OperationWaits(database, asyncio.Event())
        wanted = [pull.id, verify.id, new_id()] * CLIENTS
        found = await asyncio.gather(*map(waits.next_read, wanted))
        return [row.model if row is not None else None for row in found]

    assert asyncio.run(wait_all()) == ["demo", "sd-turbo", None] * CLIENTS
    assert len([query for query in queries if query.startswith("SELECT")]) == 1


def test_a_client_that_left_and_a_stop_of_the_process_end_the_wait(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation_waits, "POLL_SECONDS", 3600.0)
    pull = model_operations.start(database, OperationKind.PULL, "demo", "ann").operation

    async def leave_and_stop() -> str | None:
        closing = asyncio.Event()
        waits = OperationWaits(database, closing)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waits.next_read(new_id()), 0.01)
        stays = asyncio.ensure_future(waits.next_read(pull.id))
        await asyncio.sleep(0)
        closing.set()
        row = await stays
        return row.id if row is not None else None

    assert asyncio.run(leave_and_stop()) == pull.id


def test_an_outage_of_the_database_reaches_every_client(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation_waits, "POLL_SECONDS", 0.01)
    with database.write() as session:
        session.connection().exec_driver_sql("DROP TABLE model_operations")

    async def wait_both() -> list[object]:
        waits = OperationWaits(database, asyncio.Event())
        return list(await asyncio.gather(waits.next_read(new_id()), waits.next_read(new_id()), return_exceptions=True))

    first, second = asyncio.run(wait_both())
    assert isinstance(first, Exception)
    assert second is first
