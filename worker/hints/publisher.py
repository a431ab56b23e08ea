"""Publish hints to the broker and keep each model's window of hints full."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from celery import Celery
from kombu.exceptions import OperationalError

from core.errors import Unavailable
from core.queue import RENDER_TASK, flower_kwargs, render_queue
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
                _send_hint(self._app, job.id, model, flower_kwargs(model, job.input))
            except (OperationalError, OSError) as error:
                logger.warning("the broker did not take a hint: %s", error)
                for unsent in jobs[sent:]:
                    hints.clear_hint(self._database, unsent.id)
                return sent
            if self._on_sent is not None:
                self._on_sent(job)
        return len(jobs)

    def pass_on(self, job_id: str, model: str, deferrals: int) -> None:
        """Puts a hint that another worker had better take back on the queue; Flower has seen it and is not told again.

        When the broker does not take it, the job is marked as needing a new one.
        """
        try:
            _send_hint(self._quiet, job_id, model, {}, deferrals)
        except (OperationalError, OSError) as error:
            logger.warning("the broker did not take a hint back: %s", error)
            hints.clear_hint(self._database, job_id)


def _send_hint(app: Celery, job_id: str, model: str, shown: dict[str, object], deferrals: int = 0) -> None:
    app.send_task(
        RENDER_TASK,
        args=(job_id,),
        kwargs=shown,
        task_id=job_id,
        queue=render_queue(model),
        headers={"deferrals": deferrals},
        retry=False,
    )


REFILL_INTERVAL_SECONDS = 0.2
"""Busy workers need no hints to go on, and each costs a message: only idle ones, and free places, wait for them."""


class HintRefiller:
    """A thread that fills the model's window whenever a claim has made room; many claims make one round."""

    def __init__(self, publisher: HintPublisher, model: str) -> None:
        self._publisher = publisher
        self._model = model
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="refill", daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def request_refill(self) -> None:
        """A job was claimed: there may be room for another hint."""
        self._wanted.set()

    def stop(self) -> None:
        """The last round has been."""
        self._stopping.set()
        self._wanted.set()
        self._thread.join(timeout=3)

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            if self._stopping.wait(REFILL_INTERVAL_SECONDS):
                return
            self._wanted.clear()
            try:
                self._publisher.fill_window(self._model)
            except Unavailable as error:
                logger.debug("left the window to the reaper: %s", error.message)
            except Exception:
                logger.exception("could not fill the window; the next claim tries again")
