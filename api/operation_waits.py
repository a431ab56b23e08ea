"""Wait for changes of operations on models: one reader per process, however many clients wait."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from api.threads import in_thread
from db.database import Database
from db.model_operations import read_operations
from db.tables import ModelOperation

POLL_SECONDS = 0.5
"""Between two reads of the operations that clients wait for; a manager reports once a second."""


class OperationWaits:
    """Reads all operations that clients wait for in one query; reads nothing while none waits."""

    def __init__(self, database: Database, closing: asyncio.Event) -> None:
        self._database, self._closing = database, closing
        self._waiters: dict[str, list[asyncio.Future[ModelOperation | None]]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def next_read(self, operation_id: str) -> ModelOperation | None:
        """Return the operation as it is at the next read; None when there is none. Raises what the read raises."""
        found: asyncio.Future[ModelOperation | None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(operation_id, []).append(found)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.ensure_future(self._read_while_waited_for())
        return await found

    async def _read_while_waited_for(self) -> None:
        while self._waiters:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), POLL_SECONDS)
            waiters, self._waiters = self._waiters, {}
            for operation_id in [each for each, futures in waiters.items() if all(found.done() for found in futures)]:
                del waiters[operation_id]  # their clients have stopped waiting
            try:
                rows = await in_thread(read_operations, self._database, list(waiters))
            except Exception as error:  # noqa: BLE001 -- each waiter raises it
                for found in [found for futures in waiters.values() for found in futures if not found.done()]:
                    found.set_exception(error)
                continue
            for operation_id, futures in waiters.items():
                for found in futures:
                    if not found.done():
                        found.set_result(rows.get(operation_id))
