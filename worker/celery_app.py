"""The worker's Celery application and its one task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery

from core.queue import RENDER_TASK, celery_config, render_queue
from core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery.app.task import Task


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

    # worker.runner.flower sends the task's events: a hint may start another job than the one it was sent for.
    @app.task(bind=True, name=RENDER_TASK, ignore_result=True, send_events=False)  # type: ignore[untyped-decorator]
    def render(task: Task, job_id: str, **_shown: Any) -> None:  # noqa: ANN401 -- fields for Flower
        queue = (task.request.delivery_info or {}).get("routing_key")
        model = by_queue.get(str(queue), models[0])
        on_hint(job_id, int((task.request.headers or {}).get("deferrals", 0)), model)
