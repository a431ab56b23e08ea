"""Publishing hints from the worker's side of the farm: worker and reaper."""

from __future__ import annotations

import logging

from celery import Celery
from kombu.exceptions import OperationalError

from core.queue import RENDER_TASK, render_queue, shown_in_flower
from db import hints
from db.database import Database
from db.tables import Job

logger = logging.getLogger(__name__)


class HintPublisher:
    """Keeps the broker's window of hints full; a broker that is away costs nothing but time."""

    def __init__(self, app: Celery, database: Database) -> None:
        self._app = app
        self._database = database

    def publish(self, job: Job, deferrals: int = 0) -> bool:
        """Sends one hint; False when the broker did not take it (the job then needs one again)."""
        try:
            self.send(job.id, job.model, job.input, deferrals)
        except (OperationalError, OSError) as error:
            logger.warning("the broker did not take the hint for job %s: %s", job.id, error)
            hints.forget_hint(self._database, job.id)
            return False
        return True

    def send(self, job_id: str, model: str, render_input: dict[str, object], deferrals: int = 0) -> None:
        """Sends the message itself; raises what kombu raises."""
        self._app.send_task(
            RENDER_TASK,
            args=(job_id,),
            kwargs=shown_in_flower(model, render_input),
            task_id=job_id,
            queue=render_queue(model),
            headers={"deferrals": deferrals},
            retry=False,
        )

    def fill_window(self, model: str) -> int:
        """Publishes hints for waiting jobs until the window is full; returns how many went out."""
        sent = 0
        for job in hints.take_window(self._database, model, hints.window_of(self._database, model)):
            if sent >= 0 and self.publish(job):
                sent += 1
            else:
                hints.forget_hint(self._database, job.id)
        return sent
