"""Starting noise: slerp as A1111 defines it, and coherent noise that is white and follows a smaller image's."""

from __future__ import annotations

import math

import pytest
import torch

from core.errors import InvalidInput
from core.render import NoiseSource
from tests.integration.engine.recorder import a_request
from worker.pipelines.noise import (
    NoiseShape,
    check_noise,
    coherent,
    generator_of,
    refuse_noise,
    slerp,
    starting_noise,
)

SHAPE = NoiseShape(16, 8, torch.float32)


def noise(seed: int, *size: int) -> torch.Tensor:
    return torch.randn(size, generator=generator_of(seed))


def a1111_slerp(val: float, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Interpolate one image's noise, channels x h x w, by A1111's formula (modules/rng.py)."""
    low_norm, high_norm = low / torch.norm(low, dim=1, keepdim=True), high / torch.norm(high, dim=1, keepdim=True)
    omega = torch.acos((low_norm * high_norm).sum(1))
    weights = [(torch.sin(share * omega) / torch.sin(omega)).unsqueeze(1) for share in (1.0 - val, val)]
    return weights[0] * low + weights[1] * high


def correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.9])
def test_slerp_is_a1111s_and_keeps_the_variance(strength: float) -> None:
    low, high = noise(1, 1, 16, 64, 48), noise(2, 1, 16, 64, 48)
    mixed = slerp(strength, low, high)
    assert torch.allclose(mixed[0], a1111_slerp(strength, low[0], high[0]), atol=1e-6)
    assert float(mixed.std()) == pytest.approx(1, abs=0.01)
    assert correlation(mixed, low) == pytest.approx(math.cos(strength * math.pi / 2), abs=0.02)


def test_the_ends_of_slerp_are_exact_and_equal_noises_stay() -> None:
    low, high = noise(1, 1, 4, 8, 8), noise(2, 1, 4, 8, 8)
    assert torch.equal(slerp(0, low, high), low)
    assert torch.equal(slerp(1, low, high), high)
    assert torch.allclose(slerp(0.3, low, low), low)


def test_coherent_noise_is_white() -> None:
    made = coherent(noise(1, 1, 16, 64, 64), noise(2, 1, 16, 128, 128))
    assert float(made.mean()) == pytest.approx(0, abs=0.01)
    assert float(made.var()) == pytest.approx(1, abs=0.01)
    for neighbour in (made.roll(1, -1), made.roll(1, -2), made.roll((1, 1), (-1, -2)), made.roll(2, -1), made.roll(1, 1)):
        assert correlation(made, neighbour) == pytest.approx(0, abs=0.01)
    even, odd = made[..., ::2], made[..., 1::2]
    assert correlation(even, odd) == pytest.approx(0, abs=0.015), "neighbours within a block do not correlate either"


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (3, 3), (2, 1)])
def test_its_block_means_are_those_of_the_parent(rows: int, columns: int) -> None:
    parent, fresh = noise(1, 1, 16, 48, 48), noise(2, 1, 16, 48 * rows, 48 * columns)
    made, factor = coherent(parent, fresh), (rows * columns) ** 0.5
    means = torch.nn.functional.avg_pool2d(made, (rows, columns))
    assert torch.allclose(means, parent / factor, atol=1e-5)
    up = parent.repeat_interleave(rows, -2).repeat_interleave(columns, -1)
    assert correlation(made, up) == pytest.approx(1 / factor, abs=0.01)
    assert float(made.var()) == pytest.approx(1, abs=0.01)


def test_a_job_with_its_parents_seed_draws_other_values_for_the_details() -> None:
    parent = NoiseSource(seed=7, width=512, height=512)
    made = starting_noise(NoiseSource(seed=7, width=1024, height=1024, coherent=parent), generator_of(7), SHAPE)
    drawn = starting_noise(parent, generator_of(7), SHAPE)
    fresh = made - torch.nn.functional.avg_pool2d(made, 2).repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert correlation(made.flatten()[: drawn.numel()], drawn) == pytest.approx(0, abs=0.02)
    assert correlation(fresh.flatten()[: drawn.numel()], drawn) == pytest.approx(0, abs=0.02)
    up = drawn.repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert correlation(made, up) == pytest.approx(0.5, abs=0.01)


def test_noise_of_several_generations_is_white_and_follows_the_first() -> None:
    first = NoiseSource(seed=1, width=256, height=256, variation_seed=5, variation_strength=0.4)
    second = NoiseSource(seed=2, width=512, height=512, coherent=first)
    third = NoiseSource(seed=3, width=1024, height=1024, coherent=second)
    made = starting_noise(third, generator_of(3), SHAPE)
    assert float(made.var()) == pytest.approx(1, abs=0.01)
    up = starting_noise(first, generator_of(1), SHAPE).repeat_interleave(4, -1).repeat_interleave(4, -2)
    assert correlation(made, up) == pytest.approx(0.25, abs=0.01)
    assert torch.equal(made, starting_noise(third, generator_of(3), SHAPE))


@pytest.mark.parametrize(
    ("fields", "has_image", "message"),
    [
        ({"coherent": NoiseSource(seed=1, width=48, height=64)}, False, "whole multiples of 48x64"),
        ({"coherent": NoiseSource(seed=1, width=32, height=32)}, True, "send no input image"),
        ({"variation_seed": 1, "variation_strength": 1.5}, False, "0 to 1"),
    ],
)
def test_noise_that_cannot_be_drawn_is_refused(fields: dict[str, object], has_image: bool, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        check_noise(a_request(1, **fields), has_image)  # type: ignore[arg-type]


def test_models_that_draw_their_own_noise_refuse_all_but_a_plain_seed() -> None:
    refuse_noise(a_request(1, variation_seed=4))
    for strength in (0.5, 1.0):
        with pytest.raises(InvalidInput, match="by itself"):
            refuse_noise(a_request(1, variation_seed=4, variation_strength=strength))
