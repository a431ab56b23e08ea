"""What a worker makes of the end of Celery's consumer."""

from __future__ import annotations

import pytest
from celery.worker import state as celery_state

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
