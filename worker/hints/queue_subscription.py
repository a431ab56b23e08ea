"""Subscribe this worker to its queue or unsubscribe it, and repeat until Celery's consumer agrees."""

from __future__ import annotations

import logging
import threading

from celery import Celery

from core.queue import render_queue

logger = logging.getLogger(__name__)

CHECK_INTERVAL_SECONDS = 2.0


class QueueSubscription:
    """Keep Celery's consumer subscribed or not, as wanted.

    The command reaches the worker's own consumer through the broker and may be lost there, so the state is compared
    regularly and the command repeated.
    """

    def __init__(self, app: Celery, model: str, hostname: str) -> None:
        self._app = app
        self._queue = render_queue(model)
        self._hostname = hostname
        self._wanted = True
        self._changed = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="queue-subscription", daemon=True)

    def start(self) -> None:
        """Start comparing; call once Celery's consumer runs and is subscribed."""
        self._thread.start()

    def set_wanted(self, subscribed: bool) -> None:
        """Set the wanted state; the latest call counts."""
        if subscribed != self._wanted:
            self._wanted = subscribed
            self._changed.set()

    def stop(self) -> None:
        """Make no further changes."""
        self._stopping = True
        self._changed.set()

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._compare()
            except Exception as error:  # noqa: BLE001 -- kombu raises what its transport raises
                logger.debug("could not reach this worker's own consumer: %s", error)
            self._changed.wait(CHECK_INTERVAL_SECONDS)
            self._changed.clear()

    def _compare(self) -> None:
        wanted = self._wanted
        if (self._queue in self._app.amqp.queues.consume_from) == wanted:
            return
        change = self._app.control.add_consumer if wanted else self._app.control.cancel_consumer
        change(self._queue, destination=[self._hostname], reply=True, timeout=1.0)
