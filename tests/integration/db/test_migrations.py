"""Migrations of an empty database match the tables in the code, and can be reverted, on both databases."""

from __future__ import annotations

import threading

from sqlalchemy import inspect

from db.database import Database
from db.migrate import differences, downgrade, upgrade


def test_an_upgrade_from_empty_matches_the_tables(database_url: str) -> None:
    upgrade(database_url)
    assert differences(database_url) == []


def test_a_downgrade_to_empty_can_be_upgraded_again(database_url: str) -> None:
    upgrade(database_url)
    downgrade(database_url, "base")
    database = Database(database_url)
    assert set(inspect(database.engine).get_table_names()) <= {"alembic_version"}
    database.dispose()
    upgrade(database_url)
    assert differences(database_url) == []


def test_two_processes_that_migrate_at_once_do_not_collide(database_url: str) -> None:
    errors: list[BaseException] = []

    def migrate() -> None:
        try:
            upgrade(database_url)
        except BaseException as error:  # noqa: BLE001 -- reported below
            errors.append(error)

    threads = [threading.Thread(target=migrate) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert differences(database_url) == []
