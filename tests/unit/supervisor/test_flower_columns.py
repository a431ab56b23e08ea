"""Flower's columns for a job, and when it shows a worker as online."""

from __future__ import annotations

import copy
import time

import pytest
from celery.events.state import Task, Worker
from flower.views.tasks import visible_task_columns

from core.queue import flower_kwargs
from core.settings import Settings
from supervisor.flower import columns, main

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
    silent = [Worker("render@box", freq=2.0, heartbeats=[now - seconds]) for seconds in (main.ONLINE_SECONDS - 5, 25)]
    assert [worker.alive for worker in silent] == [True, False]
