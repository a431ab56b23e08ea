"""Hide prompts in Flower once API keys exist and Flower has no password: else every visitor sees every owner's."""

from __future__ import annotations

import ast
import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from celery.events import EventReceiver
from celery.events.state import State
from flower.events import Events
from tornado.ioloop import PeriodicCallback

from core.settings import Settings
from db.api_keys import any_row
from db.database import Database

logger = logging.getLogger(__name__)

HIDDEN = "hidden: set IMAGEFARM_FLOWER_BASIC_AUTH to see prompts"
FRESH_SECONDS = 1.0
"""No request is answered from an older look at the API keys."""
RECEIVE_SECONDS = 10.0
"""Longest wait for one event; Flower itself wakes up once a second."""
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 30.0
"""Between two attempts to reach the broker."""


class PromptGuard:
    """Decides whether prompts may be shown; they may not while that is unknown, and never again once a key was seen."""

    def __init__(self, settings: Settings) -> None:
        self._has_password = bool(settings.flower_basic_auth.get_secret_value())
        self._database = None if self._has_password else Database(settings.resolved_database_url, pool_size=1)
        self._key_seen = False
        self._reported = False
        self.hidden = not self._has_password

    @property
    def is_settled(self) -> bool:
        """Whether another look cannot change anything."""
        return self._database is None or self._key_seen

    def look(self) -> None:
        """Ask the database whether a key exists or ever existed. Blocks; never raises."""
        if self._database is None or self._key_seen:
            return
        try:
            self._key_seen = any_row(self._database)
            self.hidden = self._key_seen
            self._reported = False
        except Exception as error:  # noqa: BLE001 -- without an answer prompts stay hidden, whatever the reason
            self.hidden = True
            if not self._reported:
                logger.warning("prompts are hidden while the database does not say whether API keys exist: %s", error)
            self._reported = True


class PromptFreeEvents(Events):  # type: ignore[misc]
    """Flower's memory of tasks without prompts while the guard hides them: lists, pages, search and API read from it."""

    def __init__(self, guard: PromptGuard, past: Sequence[dict[str, Any]] = (), **options: Any) -> None:  # noqa: ANN401
        """Show the events `past` first. `options`: Flower's own."""
        super().__init__(**options)
        self._guard = guard
        self._scrubbed = guard.hidden
        self._checking: asyncio.Task[None] | None = None
        self._checked_at = float("-inf")
        self._retries = PeriodicCallback(self.check, FRESH_SECONDS * 1000)
        """Runs while the database has not said whether there are keys: nothing brings back what is hidden meanwhile."""
        for event in past:
            self._restore(event)

    def start(self) -> None:
        super().start()
        self._repeat_until_known()

    def stop(self) -> None:
        self._retries.stop()
        super().stop()

    def run(self) -> None:
        """Receive events until the process ends."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                with self.capp.connection() as connection:
                    receiver = EventReceiver(connection, handlers={"*": self.on_event}, app=self.capp)
                    for _ in receiver.consume(safety_interval=RECEIVE_SECONDS, wakeup=True):
                        pause = FIRST_PAUSE_SECONDS
            except Exception as error:  # noqa: BLE001 -- kombu raises what its transport raises
                logger.error("no events from the broker: %s; trying again in %g s", error, pause)
                time.sleep(pause)
                pause = min(pause * 2, MAX_PAUSE_SECONDS)

    async def check(self) -> None:
        """Look at the API keys, unless that was done a moment ago; await it before an answer that may show prompts.

        Answers wait for no look while prompts are hidden.
        """
        is_open = not self._guard.is_settled or self._scrubbed != self._guard.hidden
        if is_open and self._checking is None and time.monotonic() - self._checked_at >= FRESH_SECONDS:
            self._checking = asyncio.create_task(self._check())
        if self._checking is not None and not self._scrubbed:
            await asyncio.shield(self._checking)

    def on_event(self, event: dict[str, Any]) -> None:
        """Take an event of a worker or a publisher, on the thread that receives them."""
        self.io_loop.add_callback(self._store, event)

    def _store(self, event: dict[str, Any]) -> None:
        self.state.event(self._shown(event))

    def _restore(self, event: dict[str, Any]) -> None:
        """Take an event of before the start, without counting it in Flower's metrics again."""
        State.event(self.state, self._shown(event))
        self.state.search_engine.upsert(self.state.tasks[event["uuid"]])

    def _shown(self, event: dict[str, Any]) -> dict[str, Any]:
        if self._guard.hidden and "kwargs" in event:
            return event | {"kwargs": without_prompt(event["kwargs"])}
        return event

    async def _check(self) -> None:
        try:
            await self.io_loop.run_in_executor(None, self._guard.look)
            self._scrub()
            self._repeat_until_known()
        finally:
            self._checked_at, self._checking = time.monotonic(), None

    def _repeat_until_known(self) -> None:
        is_unknown = self._guard.hidden and not self._guard.is_settled
        if is_unknown and not self._retries.is_running():
            self._retries.start()
        elif not is_unknown:
            self._retries.stop()

    def _scrub(self) -> None:
        if self._guard.hidden and not self._scrubbed:
            logger.info("an API key exists: prompts are hidden from now on")
            for _, task in self.state.tasks.items():
                task.kwargs = without_prompt(task.kwargs) if task.kwargs else task.kwargs
            self.state.search_engine.rebuild(self.state.tasks.items())
        self._scrubbed = self._guard.hidden


def without_prompt(kwargs: object) -> str:
    """Return a task's printed keyword arguments with HIDDEN in place of the prompt; only HIDDEN when they cannot be read."""
    try:
        values = ast.literal_eval(str(kwargs))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        values = None
    if not isinstance(values, dict):
        return repr({"prompt": HIDDEN})
    return repr(values | {"prompt": HIDDEN} if "prompt" in values else values)
