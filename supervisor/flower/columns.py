"""Flower's columns: prompt, model, size, steps and seed of each job, read from the task's keyword arguments."""

from __future__ import annotations

import ast
from typing import Any

from celery.events.state import Task
from flower.views.tasks import TASK_COLUMNS

LABELS = {"prompt": "Prompt", "model": "Model", "size": "Size", "steps": "Steps", "seed": "Seed"}
COLUMNS = ("uuid", "state", *LABELS, "worker", "received", "runtime", "result")


def install() -> str:
    """Teach Flower our columns' labels (its own set is fixed); returns the value for its option `tasks_columns`."""
    TASK_COLUMNS.update(LABELS)
    return ",".join(COLUMNS)


def format_task(task: Task) -> Task:
    """Flower's hook for each row: gives our columns their values. `task` is a copy that Flower made for us."""
    shown = shown_columns(task.kwargs)
    as_dict = task.as_dict
    task.as_dict = lambda: as_dict() | shown
    task.kwargs = ", ".join(f"{name}: {value}" for name, value in shown.items())
    return task


def shown_columns(kwargs: str | None) -> dict[str, Any]:
    """The columns' values out of a task's printed keyword arguments; blanks when they are not ours to read."""
    try:
        values = ast.literal_eval(kwargs or "")
    except (ValueError, SyntaxError):
        values = {}
    if not isinstance(values, dict):
        values = {}
    return {name: values.get(name, "") for name in LABELS}
