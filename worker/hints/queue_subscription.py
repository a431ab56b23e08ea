"""Subscribe this worker to the queue of its loaded model or to none, and repeat until Celery's consumer agrees."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from celery import Celery

from core.queue import render_queue

logger = logging.getLogger(__name__)

CHECK_INTERVAL_SECONDS, SETTLED_INTERVAL_SECONDS = 2.0, 10.0
"""Between two comparisons; the longer one after one that found nothing to change."""


class QueueSubscription:
    """Keep Celery's consumer subscribed to one of the models' queues or to none, as wanted.

    The command reaches the worker's own consumer through the broker and may be lost there, so the state is compared
    regularly and the command repeated.
    """

    def __init__(self, app: Celery, models: Sequence[str], hostname: str) -> None:
        self._app = app
        self._queues = [render_queue(model) for model in models]
        self._hostname = hostname
        self._wanted: str | None = self._queues[0]
        self._changed = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="queue-subscription", daemon=True)

    def start(self) -> None:
        """Start comparing; call once Celery's consumer runs and is subscribed."""
        self._thread.start()

    def set_wanted(self, model: str | None) -> None:
        """Set the model whose queue is wanted, None for no queue; the latest call counts."""
        queue = None if model is None else render_queue(model)
        if queue != self._wanted:
            self._wanted = queue
            self._changed.set()

    def stop(self) -> None:
        """Make no further changes."""
        self._stopping = True
        self._changed.set()

    def _run(self) -> None:
        while not self._stopping:
            pause = CHECK_INTERVAL_SECONDS
            try:
                if self._compare():
                    pause = SETTLED_INTERVAL_SECONDS
            except Exception as error:  # noqa: BLE001 -- kombu raises what its transport raises
                logger.debug("could not reach this worker's own consumer: %s", error)
            self._changed.wait(pause)
            self._changed.clear()

    def _compare(self) -> bool:
        """Request what must change; return whether nothing had to."""
        is_settled = True
        for queue in sorted(self._queues, key=lambda each: each == self._wanted):  # Unsubscribe first.
            is_wanted = queue == self._wanted
            if (queue in self._app.amqp.queues.consume_from) != is_wanted:
                is_settled = False
                change = self._app.control.add_consumer if is_wanted else self._app.control.cancel_consumer
                change(queue, destination=[self._hostname], reply=True, timeout=1.0, limit=1)
        return is_settled
