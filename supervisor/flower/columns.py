"""Columns for Flower: prompt, model, size, steps and seed of each job, from the task's keyword arguments."""

from __future__ import annotations

import ast
from typing import Any

from celery.events.state import Task
from flower.views.tasks import TASK_COLUMNS

LABELS = {"prompt": "Prompt", "model": "Model", "size": "Size", "steps": "Steps", "seed": "Seed"}
COLUMNS = ("uuid", "state", "worker", *LABELS, "received", "runtime", "result")


def install() -> str:
    """Add labels for our columns to Flower's fixed set; return the value of its option `tasks_columns`."""
    TASK_COLUMNS.update(LABELS)
    return ",".join(COLUMNS)


def format_task(task: Task) -> Task:
    """Fill our columns of one row; Flower calls this with a copy of the task."""
    shown = shown_columns(task.kwargs)
    as_dict = task.as_dict
    task.as_dict = lambda: as_dict() | shown
    task.kwargs = ", ".join(f"{name}: {value}" for name, value in shown.items())
    return task


def shown_columns(kwargs: str | None) -> dict[str, Any]:
    """Return the columns' values from a task's printed keyword arguments; empty ones for tasks of other programs."""
    try:
        values = ast.literal_eval(kwargs or "")
    except (ValueError, SyntaxError):
        values = {}
    if not isinstance(values, dict):
        values = {}
    return {name: values.get(name, "") for name in LABELS}
