"""The migrations since the last release only add, so that its processes work with the new tables."""

from __future__ import annotations

from sqlalchemy import Inspector, inspect

from db.database import Database
from db.migrate import upgrade
from tests.servers.last_release import SCHEMA

Columns = dict[tuple[str, str], tuple[str, bool]]
"""(table, column) -> (type, may be NULL)"""


def test_the_last_release_can_use_the_new_tables(database_url: str) -> None:
    upgrade(database_url, SCHEMA)
    database = Database(database_url)
    try:
        before = inspect(database.engine)
        old, old_rules = columns_of(before), rules_of(before, set(before.get_table_names()))
        upgrade(database_url)
        after = inspect(database.engine)
        new, new_rules = columns_of(after), rules_of(after, set(before.get_table_names()))
        tables = {table for table, _ in old}
        assert sorted(old.keys() - new.keys()) == [], "columns or tables were dropped or renamed"
        changed = {name: (old[name], new[name]) for name in old if old[name][0] != new[name][0]}
        assert changed == {}, "types were changed"
        tightened = [name for name, (_, may_be_null) in old.items() if may_be_null and not new[name][1]]
        assert tightened == [], "columns may no longer be NULL"
        required = [name for name in new.keys() - old.keys() if name[0] in tables and is_required(after, *name)]
        assert required == [], "the last release does not fill these new columns"
        assert sorted(new_rules - old_rules) == [], "rows of the last release may break these new rules"
    finally:
        database.dispose()


def columns_of(found: Inspector) -> Columns:
    return {
        (table, column["name"]): (str(column["type"]), column["nullable"])
        for table in found.get_table_names()
        if table != "alembic_version"
        for column in found.get_columns(table)
    }


def rules_of(found: Inspector, tables: set[str]) -> set[tuple[str, str]]:
    """Return what may refuse a row: unique columns, checks, foreign keys, each as (table, description)."""
    rules = set()
    for table in tables:
        rules |= {(table, f"unique {index['column_names']}") for index in found.get_indexes(table) if index["unique"]}
        rules |= {(table, f"unique {each['column_names']}") for each in found.get_unique_constraints(table)}
        rules |= {(table, f"check {each['sqltext']}") for each in found.get_check_constraints(table)}
        rules |= {(table, f"foreign key {each['constrained_columns']}") for each in found.get_foreign_keys(table)}
    return rules


def is_required(found: Inspector, table: str, name: str) -> bool:
    column = next(each for each in found.get_columns(table) if each["name"] == name)
    return not column["nullable"] and column["default"] is None
