"""The peer's one table, in SQLite or Postgres, through a pool of plain connections."""

from __future__ import annotations

import queue
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

_TABLE = """
CREATE TABLE IF NOT EXISTS pictures
(id TEXT PRIMARY KEY, prompt TEXT, seed BIGINT, status TEXT, created_at DOUBLE PRECISION, path TEXT)
"""


class PictureStore:
    """Thread-safe. `url`: `postgresql://...`, or the path of an SQLite file, which gets the farm's own durability."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._is_postgres = url.startswith("postgres")
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()

    def create(self) -> None:
        """Create the table."""
        with self._connection() as connection:
            connection.execute(_TABLE)

    def add(self, picture_id: str, prompt: str, seed: int) -> None:
        """Insert a queued picture."""
        self._run("INSERT INTO pictures VALUES (?, ?, ?, 'queued', ?, NULL)", picture_id, prompt, seed, time.time())

    def start(self, picture_id: str) -> None:
        """Mark it as running."""
        self._run("UPDATE pictures SET status = 'running' WHERE id = ?", picture_id)

    def finish(self, picture_id: str, path: str) -> None:
        """Mark it as done."""
        self._run("UPDATE pictures SET status = 'done', path = ? WHERE id = ?", path, picture_id)

    def read(self, picture_id: str) -> dict[str, object] | None:
        """Return its row."""
        rows = self._run("SELECT id, prompt, status, path FROM pictures WHERE id = ?", picture_id)
        return dict(zip(("id", "prompt", "status", "path"), rows[0], strict=True)) if rows else None

    def unfinished(self) -> int:
        """Return how many are queued or running."""
        return int(self._run("SELECT count(*) FROM pictures WHERE status <> 'done'")[0][0])

    def _run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        text = statement.replace("?", "%s") if self._is_postgres else statement
        with self._connection() as connection:
            cursor = connection.execute(text, values)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._connect()
        with connection.transaction() if self._is_postgres else connection:
            yield connection
        self._idle.put(connection)

    def _connect(self) -> Any:  # noqa: ANN401 -- either driver's connection
        if self._is_postgres:
            return psycopg.connect(self._url)
        connection = sqlite3.connect(self._url, timeout=20, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")
        return connection
