"""Celery's application, its one task and its consumer for hints, which drops what is no hint and reconnects after errors."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from celery import Celery
from celery.app.task import Task
from celery.backends.base import DisabledBackend
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown
from kombu.asynchronous.hub import Hub
from kombu.connection import Connection
from kombu.message import Message

from core.backoff import backoff_seconds
from core.json_text import dump_json
from core.queue import RENDER_TASK, celery_config, render_queue
from core.settings import Settings
from worker.hints.hint import CONTENT_TYPE, Hint, MalformedHint, read_hint, shown
from worker.hints.listening import Listening
from worker.hints.pool import wake

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.5, 10.0
STEADY_SECONDS = 15.0
"""A connection that worked for this long resets the backoff."""


def make_celery(settings: Settings) -> Celery:
    """Return an application for the farm's broker, which accepts JSON messages only.

    Hints are not acknowledged in Redis, which would take two round trips each: a lost hint is published again.
    """
    app = Celery("imagefarm", set_as_current=False)
    app.conf.update(celery_config(settings))
    app.conf.broker_transport_options = {**app.conf.broker_transport_options, "ack_emulation": False}
    return app


def register_render_task(app: Celery, on_hint: Callable[[str, int, str], None], models: Sequence[str]) -> None:
    """Register the render task on `app`. Each message is a hint and calls `on_hint(job_id, deferrals, model)`.

    The model is that of the queue from which the message came.
    """
    app.conf.task_default_queue = render_queue(models[0])
    by_queue = {render_queue(model): model for model in models}

    # For the lack of a backend Celery would look through all installed packages when a task ends, in many threads at once.
    # worker.runner.flower sends the task's events: a hint may start another job than the one it was sent for.
    @app.task(  # type: ignore[untyped-decorator]
        bind=True, name=RENDER_TASK, backend=DisabledBackend(app=app), ignore_result=True, send_events=False
    )
    def render(task: Task, job_id: str, **_shown: Any) -> None:  # noqa: ANN401 -- fields for Flower
        queue = (task.request.delivery_info or {}).get("routing_key")
        model = by_queue.get(str(queue), models[0])
        on_hint(job_id, int((task.request.headers or {}).get("deferrals", 0)), model)


class HintConsumer(Consumer):  # type: ignore[misc]
    """No message ends it. `on_stop` is called before Celery waits for the threads of its pool.

    `listening` tells for how long to wait for a hint.
    """

    def __init__(
        self,
        *arguments: Any,  # noqa: ANN401
        on_stop: Callable[[], object],
        listening: Listening,
        **options: Any,  # noqa: ANN401
    ) -> None:
        self._on_stop = on_stop
        self._listening = listening
        self._failures = 0
        self._failed_at = float("-inf")
        super().__init__(*arguments, **options)

    def ensure_connected(self, conn: Connection) -> Connection:
        """Connect like Celery's, whose pauses would grow to 30 s and which has no setting for them."""
        conn.ensure_connection = partial(conn.ensure_connection, interval_max=MAX_PAUSE_SECONDS)  # type: ignore[method-assign]
        connected: Connection = super().ensure_connected(conn)
        return connected

    def register_with_event_loop(self, hub: Hub) -> None:
        """Register like Celery's, for this connection."""
        super().register_with_event_loop(hub)
        self._listening.on_change = partial(wake, hub)
        self.task_consumer.channel.ask_before_waiting(self._listening.seconds)

    def create_task_handler(self) -> Callable[[Message], None]:
        """Return Celery's handler, called only with messages that this consumer has rebuilt from a hint."""
        handle = super().create_task_handler()

        def on_message(message: Message) -> None:
            try:
                hint = read_hint(message.headers, message.content_type)
                _rewrite(message, hint)
                handle(message)
            except self.connection_errors + self.channel_errors:
                raise
            except MalformedHint as error:
                logger.warning("dropped a message that is no hint: %s; it was %s", error, shown(message.headers))
                _reject(message, self.connection_errors)
            except Exception:
                logger.exception("dropped a hint that Celery could not handle: %s", shown(message.headers))
                _reject(message, self.connection_errors)

        return on_message

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Reconnect after a pause: a server that refuses commands accepts connections."""
        super().on_connection_error_after_connected(exc)
        self._pause(exc)

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Try again after a pause, like `on_connection_error_after_connected`."""
        self._pause(exc)

    def _pause(self, exc: Exception) -> None:
        now = time.monotonic()
        self._failures = self._failures + 1 if now - self._failed_at < STEADY_SECONDS else 1
        pause = backoff_seconds(self._failures, FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
        logger.warning("the broker failed (%s); reconnecting in %g s", exc, pause)
        _sleep_unless_stopped(pause)
        self._failed_at = time.monotonic()

    def stop(self) -> None:
        self._on_stop()
        super().stop()


def _rewrite(message: Message, hint: Hint) -> None:
    """Replace everything that Celery would read, so that nothing in the message can harm the thread that runs it."""
    message.headers = {
        "lang": "py",
        "task": RENDER_TASK,
        "id": hint.job_id,
        "root_id": hint.job_id,
        "parent_id": None,
        "group": None,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": repr((hint.job_id,)),
        "kwargsrepr": "{}",
        "origin": "imagefarm",
        "ignore_result": True,
        "deferrals": hint.deferrals,
    }
    message.body = dump_json([[hint.job_id], {}, {}])
    message.content_type, message.content_encoding = CONTENT_TYPE, "utf-8"
    delivery = message.delivery_info
    message.properties = {"correlation_id": hint.job_id, "delivery_info": delivery, "priority": 0}


def _reject(message: Message, connection_errors: tuple[type[Exception], ...]) -> None:
    """Delete the message at the broker, unless Celery has done so."""
    if not message.acknowledged:
        message.reject_log_error(logger, connection_errors)  # type: ignore[no-untyped-call]


def _sleep_unless_stopped(seconds: float) -> None:
    """Sleep; raise Celery's own exception when the worker must stop meanwhile."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        maybe_shutdown()
        pause.wait(min(left, 0.2))
