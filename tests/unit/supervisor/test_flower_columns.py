"""Flower's columns for a job, and which workers it shows as online and has asked."""

from __future__ import annotations

import copy
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from celery.events.state import Task, Worker
from flower.views.tasks import visible_task_columns

from core.queue import CELERY_HEARTBEAT_SECONDS, flower_kwargs
from core.settings import Settings
from supervisor.flower import columns, main
from supervisor.flower.worker_list import WorkerList

if TYPE_CHECKING:
    from flower.app import Flower

INPUT = {"prompt": "a cat, 猫", "width": 512, "height": 768, "num_inference_steps": 8, "seed": 7}


def test_flower_shows_every_column() -> None:
    columns_shown = dict(visible_task_columns(columns.install()))
    assert {"Prompt", "Model", "Size", "Steps", "Seed", "Worker"} <= set(columns_shown.values())


def test_a_row_has_the_values_of_the_job() -> None:
    task = Task(uuid="1", name="imagefarm.render", kwargs=repr(flower_kwargs("demo", INPUT)))
    row = columns.format_task(copy.copy(task)).as_dict()
    expected = {"prompt": "a cat, 猫", "model": "demo", "size": "512x768", "steps": 8, "seed": 7}
    assert {name: row[name] for name in expected} == expected
    assert row["uuid"] == "1"
    assert "prompt" not in task.as_dict(), "Flower's own copy must not change"


@pytest.mark.parametrize("kwargs", [None, "", "{'prompt': 'cut off...", "[1]", "__import__('os')"])
def test_tasks_of_other_programs_have_empty_columns(kwargs: str | None) -> None:
    assert set(columns.shown_columns(kwargs).values()) == {""}


def test_a_worker_is_online_until_it_was_silent_for_20_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "expire_window", Worker.expire_window)  # so that it is undone
    main._set_options(Settings(_env_file=None))
    now = time.time()
    times = (main.ONLINE_SECONDS - 15, 25)
    silent = [Worker("render@box", freq=CELERY_HEARTBEAT_SECONDS, heartbeats=[now - seconds]) for seconds in times]
    assert [worker.alive for worker in silent] == [True, False]


def test_workers_that_join_later_or_start_again_are_asked_and_those_that_end_are_forgotten() -> None:
    now = time.time()
    asked: list[None] = []
    workers = {"render@a": Worker("render@a", pid=1, freq=2.0, heartbeats=[now])}
    known: dict[str, dict[str, object]] = {}
    state = SimpleNamespace(workers=workers)
    flower = SimpleNamespace(events=SimpleNamespace(state=state), workers=known, update_workers=lambda: asked.append(None))
    checks = WorkerList(cast("Flower", flower))

    def check(answering: str = "") -> int:
        asked.clear()
        checks.check()
        if answering:
            known[answering] = {name: {} for name in ("stats", "active_queues", "registered", "conf")}
        return len(asked)

    assert [check(answering="render@a"), check(), list(known)] == [1, 0, ["render@a"]]
    workers["render@b"] = Worker("render@b", pid=2, freq=2.0, heartbeats=[now])
    assert [check(answering="render@b"), check()] == [1, 0]
    workers["render@a"] = Worker("render@a", pid=9, freq=2.0, heartbeats=[now])
    assert [check(answering="render@a"), check()] == [1, 0], "it started again"
    workers["render@b"].heartbeats = [now - 100]
    assert [check(), list(known)] == [0, ["render@a"]]
