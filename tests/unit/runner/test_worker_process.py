"""What a worker makes of the end of Celery's consumer."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from celery.worker import state as celery_state

from tests.servers.celery_loop import sleeping_loop
from worker.runner.attempts import InFlightAttempts
from worker.runner.worker_state import WorkerState
from worker.worker_process import WorkerProcess


@pytest.mark.parametrize(
    ("should_stop", "asked", "why"),
    [
        (0, True, "a signal, which Celery's own handlers took while it started"),
        (None, False, "Celery's consumer ended"),
        (False, False, "Celery's consumer ended"),
    ],
)
def test_a_signal_that_celery_took_counts_as_asked(
    monkeypatch: pytest.MonkeyPatch, should_stop: int | None, asked: bool, why: str
) -> None:
    reasons: list[str] = []
    worker = WorkerProcess.__new__(WorkerProcess)  # Its parts start threads and processes.
    monkeypatch.setattr(worker, "_stopping", False, raising=False)
    monkeypatch.setattr(worker, "_told_to_stop", False, raising=False)
    monkeypatch.setattr(worker, "_stop_because", reasons.append)
    monkeypatch.setattr(celery_state, "should_stop", should_stop)
    worker._on_consumer_stop()
    assert (worker._told_to_stop, reasons) == (asked, [why])


def test_a_stop_wakes_celerys_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery_state, "should_stop", None)
    worker = WorkerProcess.__new__(WorkerProcess)
    with sleeping_loop() as loop:
        vars(worker).update(
            _stopping=False,
            _consumer=SimpleNamespace(hub=loop.hub),
            _settings=SimpleNamespace(drain_seconds=0.0),
            _attempts=InFlightAttempts(),
            _state=WorkerState(),
            _settled=threading.Event(),
        )
        loop.sleeps.wait()
        worker._stop_because("a test")
        loop.turn.result(timeout=8.0)
