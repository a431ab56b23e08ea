"""Finds jobs that settled, writes messages about them, and sends what is due."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from api.threads import in_thread
from api.views.jobs import job_answer
from api.webhooks.sender import Sender
from core.errors import FarmError, Gone, NotFound
from core.settings import Settings
from core.webhooks import check_url, secret_bytes
from db.database import Database
from db.snapshots import read_snapshot
from db.tables import WebhookDelivery
from db.webhook_messages import Collector, Target
from db.webhooks import claim_due, note_delivered, note_failed

logger = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
PAUSE_SECONDS = 0.2
_AT_ONCE = 20


class Dispatcher:
    """One per API process; several share the work through the database."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._collector = Collector(database, _farm_target(settings), settings.webhook_secret.get_secret_value())
        self._sender = Sender(allow_private=settings.webhook_allow_private)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Call on the event loop."""
        self._task = asyncio.create_task(self._run())

    def wake(self) -> None:
        """A job has settled: look now."""
        self._wake.set()

    async def stop(self) -> None:
        """Messages under way are tried again after the next start."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._sender.close()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                more = await self._look()
            except FarmError as error:
                logger.warning("cannot look after webhooks: %s", error.message)
                more = False
            except Exception:
                logger.exception("looking after webhooks failed")
                more = False
            if not more:
                await asyncio.sleep(PAUSE_SECONDS)  # one look serves all that settled meanwhile
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._wake.wait()

    async def _look(self) -> bool:
        """Whether there may be more to do at once."""
        await in_thread(self._collector.collect)
        due = await in_thread(claim_due, self._database, _AT_ONCE)
        await asyncio.gather(*(self._try(delivery) for delivery in due))
        return len(due) == _AT_ONCE

    async def _try(self, delivery: WebhookDelivery) -> None:
        try:
            snapshot = await in_thread(read_snapshot, self._database, delivery.job_id)
        except (NotFound, Gone):
            return  # deleted a moment ago, and its messages with it
        body = job_answer(snapshot).model_dump_json().encode()
        result = await self._sender.send(delivery.url, delivery.secret, delivery.id, body)
        if result.error is None and result.http_status is not None:
            await in_thread(note_delivered, self._database, delivery.id, result.http_status, result.seconds)
            return
        logger.info("webhook %s for job %s: %s", delivery.id, delivery.job_id, result.error)
        await in_thread(note_failed, self._database, delivery, result.error or "", result.http_status, result.seconds)


def _farm_target(settings: Settings) -> Target | None:
    """Whom the settings name; InvalidInput when they name nobody that can be called."""
    if not settings.webhook_url:
        return None
    secret = settings.webhook_secret.get_secret_value()
    secret_bytes(secret)
    return Target("settings", check_url(settings.webhook_url, field="webhook_url"), secret)
