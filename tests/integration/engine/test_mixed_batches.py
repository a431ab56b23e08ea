"""Random streams of requests that join late, leave early and differ in all parameters, against the stock pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.render import RenderRequest
from tests.integration.engine.recorder import a_request
from tests.integration.engine.tiny_models import TinyModel, tiny_model
from worker.engine.active_request import ActiveRequest, describe_batch
from worker.engine.stepping import VirtualClock, choose_micro_batch, step_isolated

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

TOLERANCE = {"float32": 2e-4, "bfloat16": 0.25}
"""Largest difference of latents that another batch size may cause; strict and single requests must have none."""
few_examples = settings(max_examples=12, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True)
class Visit:
    """A request that joins at tick `joins` and, if `leaves` is not None, is canceled that many ticks later."""

    request: RenderRequest
    joins: int
    leaves: int | None


def visits(sizes: list[tuple[int, int]]) -> st.SearchStrategy[list[Visit]]:
    requests = st.builds(
        lambda index, prompt, size, steps, guidance, strict: a_request(
            index,
            prompt,
            width=size[0],
            height=size[1],
            num_inference_steps=steps,
            guidance_scale=guidance,
            strict=strict,
        ),
        st.integers(0, 2**31),
        st.sampled_from(["", "a cat", "dog " * 20, "猫 🐈"]),
        st.sampled_from(sizes),
        st.integers(1, 5),
        st.sampled_from([1.0, 1.0, 1.5, 4.0]),
        st.sampled_from([False, False, True]),
    )
    visit = st.builds(Visit, requests, st.integers(0, 6), st.one_of(st.none(), st.none(), st.integers(0, 3)))
    return st.lists(visit, min_size=1, max_size=5, unique_by=lambda visit: visit.request.id)


def play(made: TinyModel, stream: list[Visit], budget: int) -> list[ActiveRequest]:
    """Step the stream as the loop would and return the requests that were not canceled, with finished samples."""
    clock = VirtualClock()
    active: list[ActiveRequest] = []
    done: list[ActiveRequest] = []
    waiting = sorted(stream, key=lambda visit: visit.joins)
    leaving: dict[str, int] = {}
    tick = 0
    while waiting or active:
        while waiting and (waiting[0].joins <= tick or not active):
            visit = waiting.pop(0)
            new = ActiveRequest(visit.request, b"", 0.0, sample=made.start(visit.request))
            new.start(0.0)
            new.due = clock.due(new.sample.tokens * new.sample.steps)
            active.append(new)
            if visit.leaves is not None:
                leaving[new.id] = tick + visit.leaves
        active = [each for each in active if leaving.get(each.id, tick + 1) > tick]
        batch = choose_micro_batch(active, budget)
        assert not step_isolated(made.family, [each.sample for each in batch]).failed
        clock.advance(sum(each.tokens for each in batch))
        for each in batch:
            each.note_pass_start()
            each.note_step(len(batch), describe_batch(batch))
        done += [each for each in active if each.is_done]
        active = [each for each in active if not each.is_done]
        tick += 1
    return done


def differing(made: TinyModel, done: list[ActiveRequest], tolerance: float) -> list[str]:
    """Return the requests that differ from the stock pipeline, and why; those always alone must be bit-identical."""
    return [f"{each.id}: {why}" for each in done if (why := _difference(made, each, tolerance))]


def _difference(made: TinyModel, each: ActiveRequest, tolerance: float) -> str:
    expected: Any = made.expected(each.request, "latent")
    found = each.sample.latents[0]
    if len(each.batch_sizes) != each.sample.steps:
        return f"{len(each.batch_sizes)} passes for {each.sample.steps} steps"
    if set(each.batch_sizes) == {1}:
        return "" if torch.equal(found, expected) else "alone, but not bit-identical"
    if each.request.strict:
        return "strict, but not alone"
    distance = float((found - expected).abs().max())
    return "" if distance <= tolerance else f"differs by {distance}"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@few_examples
@given(stream=visits([(64, 64), (64, 64), (96, 64), (64, 128)]), budget=st.sampled_from([1, 150, 100_000]))
def test_z_image(models_dir: Path, dtype: str, stream: list[Visit], budget: int) -> None:
    torch.set_num_threads(1)
    made = tiny_model("demo", models_dir, dtype)
    assert differing(made, play(made, stream, budget), TOLERANCE[dtype]) == []


@pytest.mark.parametrize("model_id", ["sdxl-turbo", "tiny-sd"])
@few_examples
@given(stream=visits([(64, 64), (64, 64), (128, 64)]), budget=st.sampled_from([1, 40, 100_000]))
def test_stable_diffusion(models_dir: Path, model_id: str, stream: list[Visit], budget: int) -> None:
    torch.set_num_threads(1)
    made = tiny_model(model_id, models_dir)
    assert differing(made, play(made, stream, budget), TOLERANCE["float32"]) == []
