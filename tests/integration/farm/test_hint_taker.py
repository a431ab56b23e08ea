"""The taker reads what Celery sends, straight from kombu's list."""

from __future__ import annotations

from redis import Redis

from core.celery_messages import hint_message
from core.queue import RENDER_TASK, render_queue
from core.settings import Settings
from db.database import Database
from tests.conftest import Migrate
from worker.hints.consumer import make_celery
from worker.hints.hint import Hint
from worker.hints.queue import HintPublisher, HintTaker


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
    taken = [taker.take(2) for _ in range(3)]
    found = [[(hint.job_id, hint.deferrals) for hint in each] for each in taken]
    assert found == [[("job-0", 0), ("job-1", 1)], [("job-2", 2)], []]
    taker.close()
    app.close()


def test_messages_that_are_no_hints_are_skipped(redis_url: str) -> None:
    settings = Settings(redis_url=redis_url)
    with Redis.from_url(redis_url) as redis:
        for entry in (b"junk", hint_message("job-1", "demo", {}), b"{}", hint_message("job-2", "demo", {}, 3)):
            redis.lpush(f"farm:{render_queue('demo')}", entry)
        taker = HintTaker(settings, "demo")
        assert [(hint.job_id, hint.deferrals) for hint in taker.take(2)] == [("job-1", 0), ("job-2", 3)]
        taker.close()


def test_another_key_in_the_place_of_the_queue_is_removed(redis_url: str, fresh_sqlite: str, migrate: Migrate) -> None:
    migrate(fresh_sqlite)
    settings, database = Settings(redis_url=redis_url), Database(fresh_sqlite)
    publisher, taker = HintPublisher(settings, database), HintTaker(settings, "demo")
    with Redis.from_url(redis_url) as redis:
        redis.set(f"farm:{render_queue('demo')}", "junk")
    for number in range(2):
        publisher.pass_on(Hint(f"job-{number}"), "demo")
    assert [hint.job_id for hint in taker.take(3)] == ["job-1"]
    taker.close()
    publisher.close()
    database.dispose()


def test_without_a_broker_take_returns_none() -> None:
    taker = HintTaker(Settings(redis_url="redis://127.0.0.1:1/0"), "demo")
    assert taker.take(3) == []
    taker.close()
