"""Flower shows the jobs of before its start, and a queue for each model, also for one that no worker has loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from flower.views import BaseHandler
from tornado.ioloop import IOLoop

from core.connection_urls import sqlite_url
from core.queue import render_queue
from core.settings import Settings
from db.database import Database
from db.jobs.claim import Claimant, claim_next
from db.jobs.finish import finish_error
from db.jobs.submit import NewJob, submit
from db.workers import Registration, register
from supervisor.flower.columns import shown_columns
from supervisor.flower.farm_view import FarmView
from supervisor.flower.prompts import HIDDEN, PromptFreeEvents, PromptGuard
from tests.conftest import Migrate

INPUT = {"prompt": "SECRET cat", "width": 512, "height": 768, "num_inference_steps": 8, "seed": 7}


@pytest.fixture
def settings(tmp_path: Path, migrate: Migrate) -> Settings:
    migrate(f"sqlite:///{tmp_path / 'imagefarm.db'}")
    return Settings(_env_file=None, data_dir=tmp_path, database_url=sqlite_url(tmp_path / "imagefarm.db"))


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """Provide the database with a worker of two models, a failed job and a waiting one."""
    opened = Database(settings.resolved_database_url)
    register(opened, Registration("w1", "run-1", "demo", "cpu", 1, ("demo", "sd-turbo")))
    for _ in range(2):
        submit(opened, NewJob(owner="ann", model="demo", prompt="SECRET cat", input=INPUT))
    job = claim_next(opened, "demo", Claimant("w1", "run-1", 60.0))
    assert job is not None
    assert finish_error(opened, job.id, job.attempt, "non_finite_latents", "The numbers overflowed.") is not None
    yield opened
    opened.dispose()


def shown_by_flower(settings: Settings, *, hidden: bool) -> list[Any]:
    async def load() -> list[Any]:
        guard = PromptGuard(settings)
        guard.hidden = hidden
        events = PromptFreeEvents(
            guard,
            FarmView(settings).past_events(),
            capp=Celery(set_as_current=False),
            io_loop=IOLoop.current(),
            enable_events=False,
            max_tasks_in_memory=100,
        )
        return [task for _, task in events.state.tasks.items()]

    return asyncio.run(load())


@pytest.mark.usefixtures("database")
def test_earlier_jobs_are_shown_after_a_restart(settings: Settings) -> None:
    failed, waiting = sorted(shown_by_flower(settings, hidden=False), key=lambda task: task.state)
    assert (failed.state, waiting.state) == ("FAILURE", "PENDING")
    assert failed.worker.hostname == "render@w1"
    assert failed.exception == "non_finite_latents: The numbers overflowed."
    expected = {"prompt": "SECRET cat", "model": "demo", "size": "512x768", "steps": 8, "seed": 7}
    assert shown_columns(failed.kwargs) == shown_columns(waiting.kwargs) == expected


@pytest.mark.usefixtures("database")
def test_their_prompts_are_hidden_like_those_of_new_ones(settings: Settings) -> None:
    tasks = shown_by_flower(settings, hidden=True)
    assert [shown_columns(task.kwargs)["prompt"] for task in tasks] == [HIDDEN, HIDDEN]
    assert not any("SECRET" in str(task.info()) for task in tasks)


@pytest.mark.usefixtures("database")
def test_the_broker_page_lists_the_queue_of_each_model(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseHandler, "get_active_queue_names", BaseHandler.get_active_queue_names)
    view = FarmView(settings)
    view.look()
    view.show_queues()
    capp = SimpleNamespace(conf=SimpleNamespace(task_default_queue="celery", task_queues=None))
    handler: Any = SimpleNamespace(application=SimpleNamespace(workers={}), capp=capp)
    assert BaseHandler.get_active_queue_names(handler) == [render_queue("demo"), render_queue("sd-turbo")]
    handler.application.workers = {"render@w9": {"active_queues": [{"name": render_queue("other")}]}}
    assert BaseHandler.get_active_queue_names(handler) == sorted(map(render_queue, ("demo", "other", "sd-turbo")))


def test_flower_starts_without_a_database(tmp_path: Path) -> None:
    view = FarmView(Settings(_env_file=None, data_dir=tmp_path / "missing"))
    view.look()
    assert (view.past_events(), view.queue_names) == ([], frozenset())
