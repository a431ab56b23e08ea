"""The worker's Celery application and its one task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery

from core.broker import celery_config
from core.queue import RENDER_TASK, render_queue
from core.settings import Settings

if TYPE_CHECKING:
    from celery.app.task import Task

    from worker.runner.runner import Runner


def make_celery(settings: Settings) -> Celery:
    """An application over the farm's broker; messages are JSON or refused."""
    app = Celery("imagefarm", set_as_current=False)
    app.conf.update(celery_config(settings))
    return app


def serve(app: Celery, runner: Runner, model: str) -> None:
    """Registers the render task on `app`: each message is a hint that wakes the runner."""
    app.conf.task_default_queue = render_queue(model)

    # The task's own events are sent by hand (worker.runner.flower): a hint may lead to another job than its own.
    @app.task(bind=True, name=RENDER_TASK, ignore_result=True, send_events=False)  # type: ignore[untyped-decorator]
    def render(task: Task, job_id: str, **_shown: Any) -> None:  # noqa: ANN401 -- what Flower shows
        runner.on_hint(job_id, int((task.request.headers or {}).get("deferrals", 0)))
