"""Publish hints to the broker and keep each model's window of hints full."""

from __future__ import annotations

import logging
from collections.abc import Callable

from celery import Celery
from kombu.exceptions import OperationalError

from core.queue import RENDER_TASK, flower_kwargs, render_queue
from core.settings import Settings
from db import hints
from db.database import Database
from db.tables import Job
from worker.celery_app import make_celery
from worker.hints.hint import Hint

logger = logging.getLogger(__name__)


class HintPublisher:
    """Send hints to the broker; a hint that the broker does not take is published again later.

    `on_sent` is called for each hint that was sent; without it Celery itself notifies Flower, with one message each.
    """

    def __init__(self, settings: Settings, database: Database, on_sent: Callable[[Job], None] | None = None) -> None:
        self._database = database
        self._on_sent = on_sent
        self._quiet = make_celery(settings)
        self._quiet.conf.task_send_sent_event = False
        self._app = make_celery(settings) if on_sent is None else self._quiet

    def fill_window(self, model: str) -> int:
        """Publish hints for waiting jobs until the window is full; return how many were sent."""
        jobs = hints.take_window(self._database, model, hints.window_of(self._database, model))
        for sent, job in enumerate(jobs):
            try:
                _send(self._app, Hint(job.id), model, flower_kwargs(model, job.input))
            except (OperationalError, OSError) as error:
                logger.warning("the broker did not take a hint: %s", error)
                for unsent in jobs[sent:]:
                    hints.clear_hint(self._database, unsent.id)
                return sent
            if self._on_sent is not None:
                self._on_sent(job)
        return len(jobs)

    def pass_on(self, hint: Hint, model: str) -> None:
        """Put a hint back on the queue for another worker, without an event for Flower, which has seen it already.

        If the broker does not take it, the job is marked as needing a new one.
        """
        try:
            _send(self._quiet, hint, model, {})
        except (OperationalError, OSError) as error:
            logger.warning("the broker did not take back a hint: %s", error)
            hints.clear_hint(self._database, hint.job_id)


def _send(app: Celery, hint: Hint, model: str, shown: dict[str, object]) -> None:
    app.send_task(
        RENDER_TASK,
        args=(hint.job_id,),
        kwargs=shown,
        task_id=hint.job_id,
        queue=render_queue(model),
        headers={"deferrals": hint.deferrals},
        retry=False,
    )
