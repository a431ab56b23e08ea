"""Variation seeds and coherent noise in real pipelines: exact at both ends, reproducible, equal in a micro-batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.render import NoiseSource, RenderRequest
from tests.integration.engine.recorder import Recorder, a_request
from tests.integration.engine.test_inpainting import a_mask
from tests.integration.engine.test_mixed_batches import TOLERANCE
from tests.integration.engine.tiny_models import random_png, tiny_model
from worker.engine.client import EngineClient
from worker.engine.messages import Rendered

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

MODELS = [("demo", "float32"), ("demo", "bfloat16"), ("tiny-sd", "float32"), ("sdxl-turbo", "float32")]
NOTHING: tuple[bytes, bytes] = (b"", b"")
STARTS = {
    "text": ({}, NOTHING),
    "image": ({"has_init_image": True, "strength": 0.6}, (random_png(64, 64), b"")),
    "mask": ({"has_init_image": True, "has_mask": True, "strength": 0.6}, (random_png(64, 64), a_mask())),
    "whole mask": ({"has_init_image": True, "has_mask": True, "strength": 1.0}, (random_png(64, 64), a_mask())),
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(("model_id", "dtype"), MODELS)
def test_both_ends_are_exact_and_the_middle_is_neither(models_dir: Path, model_id: str, dtype: str, start: str) -> None:
    torch.set_num_threads(1)
    made, (fields, images) = tiny_model(model_id, models_dir, dtype), STARTS[start]

    def latents(seed: int, **variation: float) -> torch.Tensor:
        request = RenderRequest.model_validate(a_request(seed, steps=3).model_dump() | fields | variation)
        found: torch.Tensor = made.alone(request, *images).latents
        return found

    plain, other = latents(5), latents(9)
    assert torch.equal(latents(5, variation_seed=9, variation_strength=0.0), plain)
    assert torch.equal(latents(5, variation_seed=9, variation_strength=1.0), other)
    near, middle = (latents(5, variation_seed=9, variation_strength=strength) for strength in (1e-4, 0.5))
    assert float((near - plain).abs().max()) < 0.05 < float((other - plain).abs().max()), "a small part changes little"
    assert not torch.equal(middle, plain)
    assert not torch.equal(middle, other)
    assert torch.equal(latents(5, variation_seed=9, variation_strength=0.5), middle)


def a_coherent(index: int, **changes: object) -> RenderRequest:
    parent = NoiseSource(seed=3, width=64, height=64)
    return a_request(index, "a cat", 128, 3, coherent=parent, **changes)


@pytest.mark.parametrize(("model_id", "dtype"), MODELS)
def test_coherent_noise_follows_the_latents_that_the_parent_started_from(
    models_dir: Path, model_id: str, dtype: str
) -> None:
    torch.set_num_threads(1)
    made = tiny_model(model_id, models_dir, dtype)
    parent, child = made.start(a_request(3, steps=3)), made.start(a_coherent(3))
    sigma = float(child.scheduler.init_noise_sigma) if model_id != "demo" else 1.0
    means = torch.nn.functional.avg_pool2d(child.latents.float(), 2)
    assert torch.allclose(means, parent.latents.float() / 2, atol=0.02 * sigma)
    assert torch.equal(made.alone(a_coherent(3)).latents, made.alone(a_coherent(3)).latents)
    assert not torch.equal(made.start(a_coherent(4)).latents, child.latents), "each seed has its own details"


@pytest.mark.parametrize(("model_id", "dtype"), MODELS[:3])
def test_a_micro_batch_mixes_noises_of_all_kinds(models_dir: Path, model_id: str, dtype: str) -> None:
    torch.set_num_threads(1)
    made = tiny_model(model_id, models_dir, dtype)
    varied = {"variation_seed": 8, "variation_strength": 0.3}
    requests = [a_coherent(1), a_request(2, "a cat", 128, 3, **varied), a_coherent(3, **varied), a_request(4, size=128)]
    samples = [made.start(request) for request in requests]
    assert len({sample.group for sample in samples}) == 1, "one pass for all"
    while running := [sample for sample in samples if sample.step < sample.steps]:
        made.family.step(running)
    for request, sample in zip(requests, samples, strict=True):
        assert (sample.latents - made.alone(request).latents).abs().max() < TOLERANCE[dtype]


def test_the_noise_reaches_the_engine_process(engine: tuple[EngineClient, Recorder], models_dir: Path) -> None:
    client, recorder = engine
    request = a_coherent(3, variation_seed=8, variation_strength=0.3)
    client.submit(request, b"")
    rendered = recorder.wait_end(request.id)
    assert isinstance(rendered, Rendered)
    made = tiny_model("demo", models_dir)
    assert rendered.pixels == made.family.decode(made.alone(request)).numpy().tobytes()
