"""A failing request affects no other: the engine keeps running and the rest of the batch finishes."""

from __future__ import annotations

import time
from typing import Any

import pytest

from core.errors import RenderError
from tests.integration.engine.conftest import StartEngine
from tests.integration.engine.recorder import Recorder, a_request
from worker.engine.client import EngineClient
from worker.engine.messages import Canceled, EngineLost, Rendered, RequestFailed, Started, Step

Engine = tuple[EngineClient, Recorder]


def submit(engine: Engine, *prompts: str, **changes: Any) -> None:  # noqa: ANN401 -- fields
    """Submit the prompts padded to one length, which may share a pass."""
    for index, prompt in enumerate(prompts):
        engine[0].submit(a_request(index, prompt.ljust(24), **changes))


def end(engine: Engine, index: int) -> Rendered | Canceled | RequestFailed:
    ended = engine[1].wait_end(f"job/1/{index}")
    assert not [event for event in engine[1].events if isinstance(event, EngineLost)]
    return ended


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("crash", "render_failed"),
        ("oom", "out_of_memory"),
        ("nan", "non_finite_latents"),
        ("quit", "render_failed"),
    ],
)
def test_a_bad_request_fails_alone(engine: Engine, fault: str, code: str) -> None:
    submit(engine, "slow fine", fault, "fine too", steps=6)
    failed = end(engine, 1)
    assert isinstance(failed, RequestFailed)
    assert failed.code == code
    assert isinstance(end(engine, 0), Rendered)
    assert isinstance(end(engine, 2), Rendered)


def test_a_batch_that_fails_is_split_and_every_request_finishes(engine: Engine) -> None:
    submit(engine, "slow a", "crash-in-batch b", "slow c", steps=6)
    ended = [end(engine, index) for index in range(3)]
    assert all(isinstance(each, Rendered) for each in ended)
    sizes = {each.request_id: each.record.batch_sizes for each in ended if isinstance(each, Rendered)}
    assert sizes["job/1/1"] == [1] * 6, "a failed pass is not in the record"


def test_a_batch_that_runs_out_of_memory_makes_later_ones_smaller(start_engine: StartEngine) -> None:
    engine = start_engine()
    engine[1].wait_ready()
    submit(engine, "slow a", "slow b", "oom-in-batch c", "slow d", steps=16)
    ended = [end(engine, index) for index in range(4)]
    sizes = [each.record.batch_sizes for each in ended if isinstance(each, Rendered)]
    assert len(sizes) == 4
    assert set(sizes[2]) == {1}
    for index in (5, 6):
        engine[0].submit(a_request(index, "slow".ljust(24), steps=8))
    later = [end(engine, index) for index in (5, 6)]
    assert all(set(each.record.batch_sizes) == {1} for each in later if isinstance(each, Rendered))


def test_parameters_that_the_family_cannot_render_are_refused(engine: Engine) -> None:
    engine[0].submit(a_request(0, size=72))
    failed = end(engine, 0)
    assert isinstance(failed, RequestFailed)
    assert failed.code == "invalid_input"
    assert "16" in failed.message


def test_an_input_that_is_no_image_is_refused(engine: Engine) -> None:
    engine[0].submit(a_request(0, strength=0.5, has_init_image=True), b"this is no image")
    failed = end(engine, 0)
    assert isinstance(failed, RequestFailed)
    assert failed.code == "invalid_input"


def test_cancel_takes_effect_between_steps_and_does_not_affect_the_rest_of_the_batch(engine: Engine) -> None:
    client, recorder = engine
    client.submit(a_request(0, "slow one", steps=40))
    client.submit(a_request(1, "slow two", steps=10_000))
    recorder.wait(Step, matches=lambda step: step.request_id == "job/1/1")
    client.cancel("job/1/1")
    assert isinstance(end(engine, 1), Canceled)
    assert isinstance(end(engine, 0), Rendered)
    late = recorder.events[recorder.events.index(Canceled("job/1/1")) :]
    assert not [event for event in late if isinstance(event, Step) and event.request_id == "job/1/1"]


def test_a_step_is_aborted_once_all_its_requests_are_canceled(engine: Engine) -> None:
    client, recorder = engine
    for number in range(1, 4):  # This process may be paused in one of them.
        client.submit(a_request(0, "heavy", steps=1))
        recorder.wait(Started, number)
        started = time.monotonic()
        client.cancel("job/1/0")
        recorder.wait(Canceled, number)
        if (took := time.monotonic() - started) < 2.5:
            break
    assert took < 2.5  # The step has four blocks of one second each.
    client.submit(a_request(1))
    assert isinstance(recorder.wait_end("job/1/1"), Rendered)


def test_a_step_is_finished_while_one_request_is_not_canceled(engine: Engine) -> None:
    client, recorder = engine
    for index in range(2):
        client.submit(a_request(index, "weighty", steps=1))
    recorder.wait(Started, 2)
    client.cancel("job/1/0")
    assert isinstance(recorder.wait_end("job/1/1"), Rendered)
    recorder.wait_end("job/1/0")


def test_a_waiting_request_can_be_canceled(engine: Engine) -> None:
    client, recorder = engine
    submit(engine, *["slow"] * 4, "one too many", steps=10_000)
    recorder.wait(Step)
    client.cancel("job/1/4")
    assert isinstance(end(engine, 4), Canceled)
    assert Started("job/1/4") not in recorder.events
    for index in range(4):
        client.cancel(f"job/1/{index}")
        end(engine, index)


def test_cancel_of_an_unknown_request_does_nothing(engine: Engine) -> None:
    engine[0].cancel("job/1/77")
    submit(engine, "fine")
    assert isinstance(end(engine, 0), Rendered)


def test_an_id_in_flight_is_refused(engine: Engine) -> None:
    submit(engine, "slow", steps=10_000)
    with pytest.raises(RenderError, match="already in flight"):
        engine[0].submit(a_request(0))
    engine[0].cancel("job/1/0")
    end(engine, 0)
