"""Celery's one task, as the threads of its pool run it."""

from __future__ import annotations

from pathlib import Path

import pytest
from celery.app import backends
from celery.app.trace import build_tracer

from core.queue import RENDER_TASK, render_queue
from core.settings import Settings
from worker.hints.consumer import make_celery, register_render_task


def test_a_message_becomes_a_hint_and_its_end_looks_for_no_result_backend(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A search of all installed packages, which Celery makes for each thread of a first crowd."""
    searched: list[str] = []

    def search(namespace: str) -> tuple[()]:
        searched.append(namespace)
        return ()

    monkeypatch.setattr(backends, "load_extension_class_names", search)
    hints: list[tuple[str, int, str]] = []
    app = make_celery(Settings(_env_file=None, data_dir=tmp_path))
    register_render_task(app, lambda *hint: hints.append(hint), ["a", "b"])
    request = {"headers": {"deferrals": 2}, "delivery_info": {"routing_key": render_queue("b")}}
    build_tracer(RENDER_TASK, app.tasks[RENDER_TASK], app=app)("job", ("job",), {}, request)
    assert hints == [("job", 2, "b")]
    assert not searched
