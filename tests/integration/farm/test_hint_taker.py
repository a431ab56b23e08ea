"""The taker reads what Celery sends, straight from kombu's list."""

from __future__ import annotations

from core.queue import RENDER_TASK, render_queue
from core.settings import Settings
from worker.celery_app import make_celery
from worker.hints.taker import HintTaker


def test_hints_are_taken_oldest_first_with_their_deferrals(redis_url: str) -> None:
    settings = Settings(redis_url=redis_url)
    app = make_celery(settings)
    for number in range(3):
        app.send_task(
            RENDER_TASK,
            (f"job-{number}",),
            task_id=f"job-{number}",
            queue=render_queue("demo"),
            headers={"deferrals": number},
        )
    taker = HintTaker(settings, "demo")
    taken = [taker.take() for _ in range(4)]
    assert [(hint.job_id, hint.deferrals) for hint in taken if hint] == [("job-0", 0), ("job-1", 1), ("job-2", 2)]
    assert taken[3] is None
    taker.close()
    app.close()


def test_without_a_broker_take_returns_none() -> None:
    taker = HintTaker(Settings(redis_url="redis://127.0.0.1:1/0"), "demo")
    assert taker.take() is None
    taker.close()
