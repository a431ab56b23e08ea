"""Compiled SQL statements that all engines of the test process share."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.util import LRUCache

STATEMENTS = 2000


class SharedStatements:
    """The compiled statements of one kind of database. An engine's own cache has its dialect object in each key."""

    def __init__(self) -> None:
        self._found: LRUCache[Any, Any] = LRUCache(STATEMENTS)

    def get(self, key: tuple[Any, ...]) -> Any:  # noqa: ANN401 -- a compiled statement
        return self._found.get(key[1:])

    def __setitem__(self, key: tuple[Any, ...], compiled: Any) -> None:  # noqa: ANN401
        self._found[key[1:]] = compiled


def share_statements(patch: pytest.MonkeyPatch) -> None:
    """Let every engine that `db.database` creates from now on use the same compiled statements."""
    shared: dict[str, SharedStatements] = {}

    def create(*given: Any, **options: Any) -> Engine:  # noqa: ANN401 -- those of create_engine
        engine = create_engine(*given, **options)
        engine._compiled_cache = shared.setdefault(engine.dialect.name, SharedStatements())  # type: ignore[assignment]
        return engine

    patch.setattr("db.database.create_engine", create)
