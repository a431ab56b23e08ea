"""A step that takes long reports its progress."""

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
from worker.engine.stepping import REPORT_INTERVAL_SECONDS, StepProgress, repeated_blocks
from worker.models.libraries import denoiser_of
from worker.runner.attempts import CancelRequested, RunningAttempt
from worker.runner.rendering import AttemptRendering, AttemptStopped

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """Return a model that is not shared, since the tests add hooks."""
    torch.set_num_threads(1)
    return TinyModel("demo", tmp_path_factory.mktemp("parts"), "float32")


@pytest.mark.parametrize(
    ("model_id", "dtype"), [("demo", "float32"), ("tiny-sd", "float32"), ("flux2-klein-4b", "bfloat16")]
)
def test_fractions_rise_towards_the_whole_step(tmp_path: Path, model_id: str, dtype: str) -> None:
    torch.set_num_threads(1)
    made = TinyModel(model_id, tmp_path, dtype)
    progress = StepProgress(repeated_blocks(denoiser_of(made.pipeline)), interval_seconds=0.0)
    sample = made.start(a_request(0, size=64, steps=3))
    for step in range(3):
        reported: list[float] = []
        with progress.reporting_to(reported.append):
            made.family.step([sample])
        assert len(reported) > 1
        assert reported == sorted(reported)
        assert 0 < reported[0] < reported[-1] <= 1.0
        # The number of blocks is taken from the previous step; the first step also runs the caption's blocks.
        assert reported[-1] == len(reported) / (len(reported) + 1) or step < 2
    before = len(reported)
    made.family.close(sample)
    made.family.close(made.alone(a_request(1, size=64, steps=1)))
    assert len(reported) == before, "nothing is reported outside of a step"


def test_a_long_step_reports_its_fraction_and_the_remaining_time(engine: tuple[EngineClient, Recorder]) -> None:
    client, recorder = engine
    client.submit(a_request(0, "heavy", steps=10))  # A step has four blocks of one second each.
    first = recorder.wait(Step)
    assert (first.step, first.steps) == (0, 10)
    assert 0 < first.part < 1
    assert first.seconds_per_step > REPORT_INTERVAL_SECONDS
    assert first.eta_seconds == pytest.approx(first.seconds_per_step * (10 - first.part))
    second = recorder.wait(Step, count=2)
    assert second.step + second.part > first.part
    client.cancel("job/1/0")
    assert isinstance(recorder.wait_end("job/1/0"), Canceled)


def test_waiting_for_a_pass_does_not_count_as_step_time(demo: TinyModel) -> None:
    second = ActiveRequest(a_request(1), b"", 0.0, sample=demo.start(a_request(1)))
    second.start(0.0)
    time.sleep(1.0)
    started = time.monotonic()
    second.note_pass_start()
    reported = second.event_within_step(0.5)
    step = (time.monotonic() - started) / 0.5
    assert reported.seconds_per_step <= step
    assert reported.eta_seconds <= 4 * step


def test_a_request_that_has_taken_the_step_reports_no_fraction_of_it(engine: tuple[EngineClient, Recorder]) -> None:
    """Two requests are tried one by one: while the second computes, the first has taken its step."""
    client, recorder = engine
    client.submit(a_request(2, "weighty", steps=1, strict=True))  # The other two arrive while this one steps.
    recorder.wait(Started)
    for index in range(2):
        client.submit(a_request(index, "heavy crash-in-batch", steps=1))
    for index in range(2):
        assert isinstance(recorder.wait_end(f"job/1/{index}"), Rendered)
    started = [type(event) for event in recorder.events if isinstance(event, Started | Rendered)]
    assert started[2:4] == [Started, Started], "both were in the batch"
    reported = [event for event in recorder.events if isinstance(event, Step)]
    assert any(event.part for event in reported)
    assert all(event.step + event.part <= 1 for event in reported)


def test_a_first_step_of_unknown_length_reports_nothing(demo: TinyModel) -> None:
    progress = StepProgress(repeated_blocks(denoiser_of(demo.pipeline)), once_each=False, interval_seconds=0.0)
    sample = demo.start(a_request(0, size=64, steps=2))
    reported: list[float] = []
    with progress.reporting_to(reported.append):
        demo.family.step([sample])
    assert not reported
    with progress.reporting_to(reported.append):
        demo.family.step([sample])
    assert len(reported) > 1


class ProgressRecorder(list[dict[str, Any]]):
    """Collects the progress messages of a job."""

    def progress(self, job_id: str, progress: dict[str, Any]) -> None:
        self.append(progress)

    def preview(self, job_id: str, index: int, image: bytes) -> None:
        """Ignore previews: the job requests none."""


def test_a_jobs_progress_includes_the_fractions_of_all_its_images(engine: tuple[EngineClient, Recorder]) -> None:
    client, recorder = engine
    fields = a_request(0, "heavy", steps=10).model_dump(exclude={"id", "has_init_image", "preview_every"})
    attempt = RunningAttempt(Job(id="parts", attempt=1, model="demo", input=fields | {"num_images": 2}))
    recorded = ProgressRecorder()
    rendering = AttemptRendering(attempt, client, Settings(), recorded, store=lambda *_: pytest.fail("no image is finished"))

    def forward_events() -> None:
        for count in (1, 2):
            attempt.on_step(recorder.wait(Step, count))
        attempt.messages.put(CancelRequested())

    forwarder = Thread(target=forward_events)
    forwarder.start()
    with pytest.raises(AttemptStopped):
        rendering.run()
    forwarder.join()
    assert (recorded[0]["step"], recorded[0]["steps"]) == (0, 20)
    assert 0 < recorded[0]["value"] < 1 / 10
    for index in range(2):
        assert isinstance(recorder.wait_end(f"parts/1/{index}"), Canceled)
