"""A thread's jobs one after the other: the next one's hint without Celery, and the grace of a claim during a drain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from sqlalchemy import update

from core.render import RenderRecord, RenderRequest, RenderTimings
from core.settings import Settings
from db import workers
from db.database import Database
from db.jobs.read import get_job
from db.jobs.submit import NewJob, submit
from db.migrate import upgrade
from db.tables import Worker
from worker.engine.messages import Rendered
from worker.hints.hint import Hint
from worker.runner.attempts import ClaimGate, InFlightAttempts
from worker.runner.context import WorkerContext
from worker.runner.runner import Runner
from worker.runner.worker_state import WorkerIdentity, WorkerState

INPUT = {"prompt": "a cat", "width": 8, "height": 8, "num_inference_steps": 1, "seed": 1, "num_images": 1}
RECORD = RenderRecord(
    family="synthetic",
    device="cpu",
    dtype="uint8",
    memory_policy="none",
    attention_backend="none",
    versions={},
    batch_sizes=[1],
    pipeline_guidance_scale=0.0,
)


class InstantEngine:
    """An engine that answers each request at once."""

    state = "ready"

    def __init__(self, attempts: InFlightAttempts) -> None:
        self._attempts = attempts

    def submit(self, request: RenderRequest, *_images: bytes) -> None:
        pixels = b"\x80" * (3 * request.width * request.height)
        self._attempts.route(Rendered(request.id, request.width, request.height, pixels, RECORD, RenderTimings()))

    def cancel(self, request_id: str) -> None: ...


@pytest.fixture
def context(fresh_sqlite: str, tmp_path: Path, redis_url: str) -> Iterator[WorkerContext]:
    upgrade(fresh_sqlite)
    database, identity, attempts = Database(fresh_sqlite), WorkerIdentity("w1"), InFlightAttempts()
    state, fakes = WorkerState(), dict[str, Any](engine=InstantEngine(attempts), events=Mock(), flower=Mock())
    state.change("ready")
    workers.register(database, workers.Registration(identity.name, identity.incarnation, "demo", "cpu", capacity=1))
    yield WorkerContext(
        settings=Settings(data_dir=tmp_path, redis_url=redis_url),
        database=database,
        identity=identity,
        model="demo",
        state=state,
        attempts=attempts,
        **fakes,
    )
    database.dispose()


def run_job(context: WorkerContext, after_claim: Callable[[], None]) -> tuple[str, int]:
    """Run one job, with a call between its claim and its start; return its status and attempt.

    A worker that claims asks for a refill when another job waits without a hint.
    """
    job, _ = (
        submit(context.database, NewJob(owner="ann", model="demo", prompt="a cat", input=INPUT, priority=priority)).job
        for priority in (9, 1)
    )
    hints: Any = SimpleNamespace(
        request_refill=after_claim, take=lambda count: [], wait=lambda seconds: None, pass_on=lambda hint: None
    )
    Runner(context, {"demo": hints}, ClaimGate("demo")).on_hint(job.id, 0, "demo")
    after = get_job(context.database, job.id)
    return str(after.status), after.attempt


def test_a_job_claimed_while_the_drain_starts_is_finished(context: WorkerContext) -> None:
    assert run_job(context, lambda: context.state.change("draining")) == ("succeeded", 1)


@pytest.mark.parametrize(("most_pixels", "found"), [(63, ("queued", 0)), (64, ("succeeded", 1))])
def test_an_image_that_the_workers_memory_does_not_hold_is_left_to_others(
    context: WorkerContext, most_pixels: int, found: tuple[str, int]
) -> None:
    info: Any = SimpleNamespace(model="demo", max_pixels=most_pixels, max_pixels_guided=most_pixels)
    context.sizes.note(info)
    assert run_job(context, lambda: None) == found


def test_a_job_claimed_after_the_grace_period_is_given_back(context: WorkerContext) -> None:
    def end_grace() -> None:
        context.state.change("draining")
        context.attempts.give_back_all()

    assert run_job(context, end_grace) == ("queued", 1)


def test_a_thread_without_a_further_job_uses_the_next_hint_itself(context: WorkerContext) -> None:
    new = NewJob(owner="ann", model="demo", prompt="a cat", input=INPUT)
    first, waited = submit(context.database, new).job, list[str]()

    def wait(_: float) -> Hint | None:
        """Return the hint of a job that comes now, once; later nothing comes."""
        if waited:
            return None
        waited.append(submit(context.database, new).job.id)
        return Hint(waited[0])

    hints: Any = SimpleNamespace(request_refill=Mock(), take=lambda count: [], wait=wait, pass_on=Mock())
    Runner(context, {"demo": hints}, ClaimGate("demo")).on_hint(first.id, 0, "demo")
    assert [str(get_job(context.database, job_id).status) for job_id in (first.id, *waited)] == ["succeeded"] * 2
    hints.pass_on.assert_not_called()


def test_a_busy_worker_passes_a_hint_on_and_tells_that_another_is_idle(context: WorkerContext) -> None:
    workers.register(context.database, workers.Registration("w2", "w2-incarnation", "demo", "cpu", capacity=1))
    with context.database.write() as session:
        session.execute(update(Worker).where(Worker.name == "w2").values(state="ready"))
    job = submit(context.database, NewJob(owner="ann", model="demo", prompt="a cat", input=INPUT)).job
    held: Any = SimpleNamespace(key=("another", 1))
    context.attempts.add(held)
    hints = Mock()
    runner = Runner(context, {"demo": hints}, ClaimGate("demo"))
    runner.on_deferral = Mock()
    runner.on_hint(job.id, 0, "demo")
    runner.on_deferral.assert_called_once_with()
    hints.pass_on.assert_called_once()
    assert get_job(context.database, job.id).status == "queued"
