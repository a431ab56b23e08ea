"""The gate opens after the failed operation succeeds, and tells every attempt."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from core.errors import RenderError
from core.settings import Settings
from worker.runner import rendering, storage_gate
from worker.runner.attempts import CancelRequested, InFlightAttempts, RunningAttempt, StorageBack
from worker.runner.rendering import AttemptRendering, AttemptStopped
from worker.runner.storage_gate import StorageGate
from worker.runner.worker_state import WorkerState


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_gate, "FIRST_PROBE_SECONDS", 0.01)


def attempt_of(number: int = 1) -> RunningAttempt:
    job: Any = SimpleNamespace(id=f"job-{number}", attempt=1, input={})
    return RunningAttempt(job)


def test_the_gate_stays_closed_until_every_probe_succeeds() -> None:
    state, attempts, attempt = WorkerState(), InFlightAttempts(), attempt_of()
    attempts.add(attempt)
    state.change("ready")
    gate = StorageGate(state, attempts)
    answers, asked = threading.Semaphore(0), threading.Event()

    def probe() -> None:
        asked.set()
        if not answers.acquire(blocking=False):
            raise RenderError("the disk is full", code="storage_unavailable")

    gate.report("images", "first reason", probe)
    gate.report("uploads", "other reason", lambda: None)
    assert asked.wait(120)
    assert attempt.messages.empty()
    assert (state.snapshot().state, str(state.snapshot().message)[:21]) == ("blocked", "storage unavailable: ")
    answers.release()
    assert attempt.messages.get(timeout=120) == StorageBack()
    assert gate.is_open and state.snapshot().state == "ready"


def test_a_probe_that_fails_for_another_reason_opens_the_gate() -> None:
    attempts, attempt = InFlightAttempts(), attempt_of()
    attempts.add(attempt)

    def probe() -> None:
        raise RenderError("The uploaded image no longer exists.", code="invalid_input")

    StorageGate(WorkerState(), attempts).report("uploads", "reason", probe)
    assert attempt.messages.get(timeout=120) == StorageBack()


def rendering_of(attempt: RunningAttempt, failures: int) -> AttemptRendering:
    """Return a rendering whose store fails so many times."""
    left = iter(range(failures))

    def store(*_: object) -> Any:  # noqa: ANN401 -- an image
        if next(left, None) is not None:
            raise RenderError("the disk is full", code="storage_unavailable")
        return SimpleNamespace(index=0)

    unused: Any = None
    request: Any = SimpleNamespace(upscale=None)
    made = AttemptRendering(attempt, unused, Settings(), unused, store, on_storage_lost=lambda reason: None)
    made._pending["job-1/1/0"] = request
    return made


RENDERED: Any = SimpleNamespace(request_id="job-1/1/0", width=1, height=1, pixels=b"\xff\x80\x00")


def test_a_finished_image_is_stored_once_the_store_is_back() -> None:
    attempt = attempt_of()
    for _ in range(2):
        attempt.messages.put(StorageBack())
    made = rendering_of(attempt, failures=2)
    made._store(RENDERED)
    assert len(made.images) == 1


def test_a_finished_image_is_given_up_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "HOLD_SECONDS", 0.0)
    with pytest.raises(RenderError, match="the disk is full"):
        rendering_of(attempt_of(), failures=1)._store(RENDERED)


def test_messages_that_arrive_meanwhile_are_handled_later_and_a_cancel_at_once() -> None:
    attempt = attempt_of()
    later: Any = SimpleNamespace(request_id="job-1/1/1")
    attempt.messages.put(later)
    attempt.messages.put(CancelRequested())
    made = rendering_of(attempt, failures=1)
    with pytest.raises(AttemptStopped):
        made._store(RENDERED)
    assert list(made._postponed) == [later]
