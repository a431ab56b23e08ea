"""The worker's Celery application and its one task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery

from core.queue import RENDER_TASK, celery_config, render_queue
from core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.app.task import Task


def make_celery(settings: Settings) -> Celery:
    """An application over the farm's broker; messages are JSON or refused."""
    app = Celery("imagefarm", set_as_current=False)
    app.conf.update(celery_config(settings))
    return app


def register_render_task(app: Celery, on_hint: Callable[[str, int], None], model: str) -> None:
    """Register the render task on `app`; each message is a hint: `on_hint(job_id, deferrals)` is called with it."""
    app.conf.task_default_queue = render_queue(model)

    # The task's own events are sent by hand (worker.runner.flower): a hint may lead to another job than its own.
    @app.task(bind=True, name=RENDER_TASK, ignore_result=True, send_events=False)  # type: ignore[untyped-decorator]
    def render(task: Task, job_id: str, **_shown: Any) -> None:  # noqa: ANN401 -- what Flower shows
        on_hint(job_id, int((task.request.headers or {}).get("deferrals", 0)))
