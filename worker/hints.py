"""Publishing hints from the worker's side of the farm: worker and reaper."""

from __future__ import annotations

import logging
from collections.abc import Callable

from celery import Celery
from kombu.exceptions import OperationalError

from core.queue import RENDER_TASK, render_queue, shown_in_flower
from core.settings import Settings
from db import hints
from db.database import Database
from db.tables import Job
from worker.celery_app import make_celery

logger = logging.getLogger(__name__)


class HintPublisher:
    """Keeps the broker's window of hints full; a broker that is away costs nothing but time.

    `on_sent` hears of each hint that went out; without it Celery tells Flower itself, a message for each.
    """

    def __init__(self, settings: Settings, database: Database, on_sent: Callable[[Job], None] | None = None) -> None:
        self._database = database
        self._on_sent = on_sent
        self._quiet = make_celery(settings)
        self._quiet.conf.task_send_sent_event = False
        self._app = make_celery(settings) if on_sent is None else self._quiet

    def fill_window(self, model: str) -> int:
        """Publishes hints for waiting jobs until the window is full; returns how many went out."""
        jobs = hints.take_window(self._database, model, hints.window_of(self._database, model))
        for sent, job in enumerate(jobs):
            try:
                _send(self._app, job.id, model, shown_in_flower(model, job.input))
            except (OperationalError, OSError) as error:
                logger.warning("the broker did not take a hint: %s", error)
                for unsent in jobs[sent:]:
                    hints.forget_hint(self._database, unsent.id)
                return sent
            if self._on_sent is not None:
                self._on_sent(job)
        return len(jobs)

    def pass_on(self, job_id: str, model: str, deferrals: int) -> None:
        """Puts a hint that another worker had better take back on the queue; Flower has seen it and is not told again.

        When the broker does not take it, the job is marked as needing a new one.
        """
        try:
            _send(self._quiet, job_id, model, {}, deferrals)
        except (OperationalError, OSError) as error:
            logger.warning("the broker did not take a hint back: %s", error)
            hints.forget_hint(self._database, job_id)


def _send(app: Celery, job_id: str, model: str, shown: dict[str, object], deferrals: int = 0) -> None:
    app.send_task(
        RENDER_TASK,
        args=(job_id,),
        kwargs=shown,
        task_id=job_id,
        queue=render_queue(model),
        headers={"deferrals": deferrals},
        retry=False,
    )
