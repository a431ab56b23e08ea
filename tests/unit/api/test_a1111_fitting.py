"""Sizes, seeds, steps and strengths of A1111 as those of a model."""

from __future__ import annotations

import pytest

from api.a1111.fitting import fit_size, fit_steps, fit_strength, map_seed
from api.a1111.without_effect import ignored_fields
from core.catalogue import load_catalogue
from core.render import MAX_SEED
from core.schemas.a1111 import Txt2Img

DEMO = load_catalogue().get("demo")


@pytest.mark.parametrize(
    ("asked", "rendered", "cut"),
    [
        ((512, 512), (512, 512), (512, 512)),
        ((500, 513), (512, 528), (500, 513)),
        ((8, 64), (64, 64), (8, 64)),
        ((2041, 2048), (2048, 2048), (2041, 2048)),
        ((3000, 64), (3000, 64), (3000, 64)),
        ((0, 64), (0, 64), (0, 64)),
    ],
)
def test_sizes(asked: tuple[int, int], rendered: tuple[int, int], cut: tuple[int, int]) -> None:
    """What no model renders stays as it is, to be refused with the model's limits."""
    found = fit_size(*asked, DEMO.limits)
    assert ((found.width, found.height), (found.cut_width, found.cut_height)) == (rendered, cut)


def test_a_size_at_the_largest_area_is_rounded_down() -> None:
    limits = DEMO.limits.model_copy(update={"max_pixels": 500 * 520})
    found = fit_size(500, 520, limits)
    assert (found.width, found.height, found.is_cut) == (496, 512, False)


@pytest.mark.parametrize("seed", [2**63, 2**32, 2**32 - 3, -7])
def test_seeds_are_mapped_to_the_same_one_each_time(seed: int) -> None:
    mapped, said = map_seed(seed, 5)
    assert 0 <= mapped <= MAX_SEED - 4
    assert (str(seed) in said, str(mapped) in said) == (True, True)
    assert map_seed(seed, 5)[0] == mapped


@pytest.mark.parametrize("seed", [-1, None])
def test_a_random_seed_stays_random(seed: int | None) -> None:
    assert map_seed(seed, 5) == (-1, "")


@pytest.mark.parametrize("steps", [1, 3, 8, 49, 150])
def test_denoising_0_leaves_one_step(steps: int) -> None:
    strength, said = fit_strength(0, steps)
    assert strength is not None
    assert int(steps * strength) == 1 and said
    assert fit_strength(0.9, 20) == (0.9, "")
    assert fit_steps(steps, DEMO)[0] == min(steps, 100)


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("(a fox:1.3)", "weights"),
        ("[fox:cat:0.5]", "prompt editing"),
        ("a fox BREAK a cat", "BREAK"),
        ("a fox (asleep) in snow: cold", ""),
        ("<lora:ink:0.8> a fox", ""),
    ],
)
def test_syntax_without_effect_is_named(prompt: str, named: str) -> None:
    found = ignored_fields(Txt2Img(prompt=prompt))
    assert [named in text for text in found] == ([True] if named else [])
