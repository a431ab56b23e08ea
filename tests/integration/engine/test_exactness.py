"""Alone, every family is bit-identical to the stock pipeline; batched with others, as close as the batch size allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import InvalidInput, RenderError
from tests.integration.engine.recorder import a_request
from tests.integration.engine.tiny_models import TinyModel, random_png, tiny_model
from worker.engine.stepping import step_isolated

# diffusers' Euler schedulers pass tensors to numpy in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

STEPPED = ["demo", "sd-turbo", "sdxl-turbo", "lcm-sd15", "tiny-sd"]


@pytest.fixture(params=STEPPED)
def any_model(request: pytest.FixtureRequest, models_dir: Path) -> TinyModel:
    torch.set_num_threads(1)
    return tiny_model(request.param, models_dir)


def pixels_of(made: TinyModel, sample: object) -> bytes:
    return made.family.decode(sample).numpy().tobytes()


@pytest.mark.parametrize("guidance", [1.0, 1.7])
def test_a_request_alone_is_bit_identical(any_model: TinyModel, guidance: float) -> None:
    request = a_request(3, "a cat", 64, 4, guidance_scale=guidance, negative_prompt="dog")
    sample = any_model.alone(request)
    latents, pixels = any_model.expected_both(request)
    assert torch.equal(sample.latents[0], latents)
    assert pixels_of(any_model, sample) == pixels


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("prompt", "width", "height", "steps", "guidance"),
    [("", 64, 64, 1, 1.0), ("猫" * 300, 96, 64, 3, 1.0), ("a cat 🐈 " * 9, 64, 112, 5, 5.0)],
)
def test_z_image_alone_is_bit_identical(
    models_dir: Path, dtype: str, prompt: str, width: int, height: int, steps: int, guidance: float
) -> None:
    torch.set_num_threads(1)
    made = tiny_model("demo", models_dir, dtype)
    request = a_request(5, prompt, num_inference_steps=steps, width=width, height=height, guidance_scale=guidance)
    sample = made.alone(request)
    latents, pixels = made.expected_both(request)
    assert torch.equal(sample.latents[0], latents)
    assert pixels_of(made, sample) == pixels


@pytest.mark.parametrize("strength", [0.3, 0.5, 1.0])
def test_image_to_image_alone_is_bit_identical(any_model: TinyModel, strength: float) -> None:
    image = random_png(64, 64)
    request = a_request(4, "a cat", 64, 6, strength=strength, has_init_image=True)
    sample = any_model.alone(request, image)
    assert torch.equal(sample.latents[0], any_model.expected(request, "latent", image))
    assert sample.steps == len(sample.timesteps)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("start", "steps", "guidance"), [(0.5, 4, 1.0), (0.9, 1, 1.0), (1.0, 3, 1.0), (0.37, 5, 2.5)])
def test_a_start_sigma_is_bit_identical(models_dir: Path, dtype: str, start: float, steps: int, guidance: float) -> None:
    torch.set_num_threads(1)
    made, image = tiny_model("demo", models_dir, dtype), random_png(64, 64)
    fields: dict[str, Any] = {
        "start_sigma": start,
        "guidance_scale": guidance,
        "negative_prompt": "dog",
        "has_init_image": True,
    }
    request = a_request(4, "a cat", 64, steps, **fields)
    sample = made.alone(request, image)
    latents, pixels = made.expected_both(request, image)
    assert torch.equal(sample.latents[0], latents)
    assert pixels_of(made, sample) == pixels
    assert len(sample.schedule) == steps + 1
    assert sample.schedule[0] == pytest.approx(start, abs=1e-6)
    assert sample.schedule[-1] == 0.0


@pytest.mark.parametrize(
    ("fields", "has_image", "message"),
    [
        ({"start_sigma": 0.5}, False, "input image"),
        ({"start_sigma": 0.5, "strength": 0.5}, True, "one of them"),
        ({"start_sigma": 0.0}, True, "above 0"),
    ],
)
def test_an_invalid_start_sigma_is_refused(models_dir: Path, fields: dict[str, Any], has_image: bool, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        tiny_model("demo", models_dir).family.check(a_request(0, **fields), has_image)


@pytest.mark.parametrize("model", ["sd-turbo", "flux2-klein-4b"])
def test_a_family_without_sigmas_refuses_a_start_sigma(models_dir: Path, model: str) -> None:
    dtype = "bfloat16" if model == "flux2-klein-4b" else "float32"
    with pytest.raises(InvalidInput, match="strength"):
        tiny_model(model, models_dir, dtype).family.check(a_request(0, start_sigma=0.5), True)


def test_an_empty_negative_prompt_equals_none_in_the_pipeline(any_model: TinyModel) -> None:
    request = a_request(6, "a cat", 64, 3, guidance_scale=1.5)
    assert torch.equal(any_model.alone(request).latents[0], any_model.expected(request, "latent"))


def test_batching_with_others_changes_next_to_nothing(any_model: TinyModel) -> None:
    requests = [a_request(index, "a cat", 64, 3 + index, guidance_scale=1.0 + index % 2) for index in range(3)]
    samples = [any_model.start(request) for request in requests]
    assert len({sample.group for sample in samples}) == 1 or any_model.model.family == "z-image"
    while running := [sample for sample in samples if sample.step < sample.steps]:
        any_model.family.step(running)
    for request, sample in zip(requests, samples, strict=True):
        assert (sample.latents[0] - any_model.expected(request, "latent")).abs().max() < 2e-4


def test_a_failed_step_changes_no_sample(any_model: TinyModel) -> None:
    good, bad = any_model.start(a_request(0, size=64)), any_model.start(a_request(1, size=64))
    before = good.latents.clone()
    bad.latents = bad.latents[:, :1]
    with pytest.raises((RuntimeError, ValueError)):
        any_model.family.step([good, bad])
    assert torch.equal(good.latents, before)
    assert good.step == 0


def test_a_preview_is_small_and_in_range(any_model: TinyModel) -> None:
    sample = any_model.start(a_request(0, size=64, steps=4))
    any_model.family.step([sample])
    preview = any_model.family.preview(sample)
    assert preview is not None
    assert preview.shape == (8, 8, 3)
    assert preview.dtype == torch.uint8
    assert preview.float().std() > 0


def test_a_planted_nan_is_reported(any_model: TinyModel) -> None:
    sample = any_model.alone(a_request(0, size=64, steps=2))
    sample.latents[0, 0, 0, 0] = float("nan")
    with pytest.raises(RenderError) as caught:
        any_model.family.decode(sample)
    assert caught.value.code == "non_finite_latents"


def test_a_late_error_makes_no_sample_take_a_step_twice(any_model: TinyModel) -> None:
    good, bad = (any_model.start(a_request(index, size=64, steps=3)) for index in range(2))
    bad.scheduler.step = None  # Fails only when the samples advance, after the good one has.
    outcome = step_isolated(any_model.family, [good, bad])
    assert good.step == 1
    assert outcome.passes == {good: 1}
    assert list(outcome.failed) == [bad]
