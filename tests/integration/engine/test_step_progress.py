"""A step that takes long says how far it has come."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from core.settings import Settings
from db.tables import Job
from tests.integration.engine.recorder import Recorder, a_request
from tests.integration.engine.tiny_models import TinyModel
from worker.engine.active_request import ActiveRequest
from worker.engine.client import EngineClient
from worker.engine.messages import Canceled, Rendered, Started, Step
from worker.engine.step_hooks import REPORT_INTERVAL_SECONDS, StepProgress, repeated_blocks
from worker.models.libraries import denoiser_of
from worker.runner.attempts import CancelRequested, RunningAttempt
from worker.runner.rendering import AttemptRendering, AttemptStopped

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """One of its own: the tests hook into it."""
    torch.set_num_threads(1)
    return TinyModel("demo", tmp_path_factory.mktemp("parts"), "float32")


@pytest.mark.parametrize(
    ("model_id", "dtype"), [("demo", "float32"), ("tiny-sd", "float32"), ("flux2-klein-4b", "bfloat16")]
)
def test_parts_rise_to_the_whole_step(tmp_path: Path, model_id: str, dtype: str) -> None:
    torch.set_num_threads(1)
    made = TinyModel(model_id, tmp_path, dtype)
    parts = StepProgress(repeated_blocks(denoiser_of(made.pipeline)), pause_seconds=0.0)
    sample = made.start(a_request(0, size=64, steps=3))
    for step in range(3):
        told: list[float] = []
        with parts.reporting_to(told.append):
            made.family.step([sample])
        assert len(told) > 1
        assert told == sorted(told)
        assert 0 < told[0] < told[-1] <= 1.0
        # What makes a step is known from the one before, of which the first has the caption's blocks besides.
        assert told[-1] == len(told) / (len(told) + 1) or step < 2
    before = len(told)
    made.family.close(sample)
    made.family.close(made.alone(a_request(1, size=64, steps=1)))
    assert len(told) == before, "nobody listens outside of a step"


def test_a_long_step_tells_its_part_and_when_the_picture_may_be_done(engine: tuple[EngineClient, Recorder]) -> None:
    client, recorder = engine
    client.submit(a_request(0, "heavy", steps=10))  # A step has four blocks of a second.
    first = recorder.wait(Step)
    assert (first.step, first.steps) == (0, 10)
    assert 0 < first.part < 1
    assert first.seconds_per_step > REPORT_INTERVAL_SECONDS
    assert first.eta_seconds == pytest.approx(first.seconds_per_step * (10 - first.part))
    second = recorder.wait(Step, count=2)
    assert second.step + second.part > first.part
    client.cancel("job/1/0")
    assert isinstance(recorder.wait_end("job/1/0"), Canceled)


def test_waiting_for_its_turn_makes_no_step_long(demo: TinyModel) -> None:
    second = ActiveRequest(a_request(1), b"", 0.0, sample=demo.start(a_request(1)))
    second.begin(0.0)
    time.sleep(1.0)
    second.about_to_step()
    told = second.note_part(0.5)
    assert told.seconds_per_step < 0.5
    assert told.eta_seconds < 4 * 0.5


def test_who_has_moved_on_is_told_no_part(engine: tuple[EngineClient, Recorder]) -> None:
    """Two are tried one by one: while the second computes, the first has taken its step."""
    client, recorder = engine
    client.submit(a_request(2, "weighty", steps=1, strict=True))  # While it is at work, both come in.
    recorder.wait(Started)
    for index in range(2):
        client.submit(a_request(index, "heavy crash-in-batch", steps=1))
    for index in range(2):
        assert isinstance(recorder.wait_end(f"job/1/{index}"), Rendered)
    started = [type(event) for event in recorder.events if isinstance(event, Started | Rendered)]
    assert started[2:4] == [Started, Started], "they were in company"
    told = [event for event in recorder.events if isinstance(event, Step)]
    assert any(event.part for event in told)
    assert all(event.step + event.part <= 1 for event in told)


def test_of_a_first_step_of_unknown_length_nothing_is_told(demo: TinyModel) -> None:
    parts = StepProgress(repeated_blocks(denoiser_of(demo.pipeline)), once_each=False, pause_seconds=0.0)
    sample = demo.start(a_request(0, size=64, steps=2))
    told: list[float] = []
    with parts.reporting_to(told.append):
        demo.family.step([sample])
    assert not told
    with parts.reporting_to(told.append):
        demo.family.step([sample])
    assert len(told) > 1


class Heard(list[dict[str, Any]]):
    """All progress of a job."""

    def progress(self, job_id: str, progress: dict[str, Any]) -> None:
        self.append(progress)

    def preview(self, job_id: str, index: int, image: bytes) -> None:
        """None is asked for."""


def test_a_job_counts_the_parts_of_all_its_images(engine: tuple[EngineClient, Recorder]) -> None:
    client, recorder = engine
    fields = a_request(0, "heavy", steps=10).model_dump(exclude={"id", "has_init_image", "preview_every"})
    attempt = RunningAttempt(Job(id="parts", attempt=1, model="demo", input=fields | {"num_images": 2}))
    heard = Heard()
    rendering = AttemptRendering(attempt, client, Settings(), heard, store=lambda *_: pytest.fail("nothing is done"))

    def pass_on() -> None:
        for count in (1, 2):
            attempt.message.put(recorder.wait(Step, count))
        attempt.message.put(CancelRequested())

    mailman = Thread(target=pass_on)
    mailman.start()
    with pytest.raises(AttemptStopped):
        rendering.run()
    mailman.join()
    assert (heard[0]["step"], heard[0]["steps"]) == (0, 20)
    assert 0 < heard[0]["value"] < 1 / 10
    for index in range(2):
        assert isinstance(recorder.wait_end(f"parts/1/{index}"), Canceled)
