"""Recipes: values by content type, what wins over them, and what each costs a model."""

from __future__ import annotations

import pytest

from core.catalogue import load_catalogue
from core.errors import InvalidInput
from core.presets import all_recipes, find_recipe, fit_recipe
from tests.unit.parameters.conftest import Normalise, model

VALUES = {"anime": (35, 7.0), "photo": (45, 8.0), "art": (55, 8.0), "concept": (60, 9.0)}


@pytest.mark.parametrize("recipe", VALUES)
def test_a_recipe_gives_the_middle_of_its_ranges(normalised: Normalise, recipe: str) -> None:
    found = normalised("z-image", recipe=recipe)
    assert (found.parameters.num_inference_steps, found.parameters.guidance_scale) == VALUES[recipe]
    assert found.parameters.recipe == recipe
    assert found.warnings == [], "the undistilled model takes it as it is"


def test_a_distilled_model_accepts_it_and_says_what_it_costs(normalised: Normalise) -> None:
    found = normalised("z-image-turbo", recipe="anime")
    assert (found.parameters.num_inference_steps, found.parameters.guidance_scale) == (35, 7.0)
    assert found.warnings == [
        "The recipe 'anime' (35 steps, guidance_scale 7) costs 8.8x what the authors of z-image-turbo recommend "
        "(8 steps, guidance_scale 1, which is off) and may oversaturate the image. "
        'Send "recipe": "authors" for theirs.'
    ]


def test_fields_win_over_the_recipe_and_the_recipe_over_the_preset(normalised: Normalise) -> None:
    both = normalised("z-image", recipe="photo", preset="draft").parameters
    assert (both.width, both.num_inference_steps, both.guidance_scale) == (512, 45, 8.0)
    given = normalised("z-image", recipe="photo", steps=20, guidance_scale=4.0).parameters
    assert (given.num_inference_steps, given.guidance_scale) == (20, 4.0)
    turbo = normalised("z-image-turbo", recipe="photo", steps=8, guidance_scale=1.0)
    assert turbo.warnings == [], "nothing of the recipe is left"


@pytest.mark.parametrize("name", [row.id for row in load_catalogue()])
def test_the_authors_recipe_is_each_models_own(normalised: Normalise, name: str) -> None:
    found = normalised(name, recipe="authors", preset="draft")
    defaults = model(name).defaults
    assert found.parameters.num_inference_steps == defaults.num_inference_steps
    assert found.parameters.guidance_scale == defaults.guidance_scale
    assert found.warnings == []


@pytest.mark.parametrize("name", [row.id for row in load_catalogue()])
@pytest.mark.parametrize("recipe", all_recipes(), ids=lambda recipe: recipe.id)
def test_every_recipe_is_within_every_models_limits(normalised: Normalise, name: str, recipe: object) -> None:
    found = normalised(name, recipe=recipe.id)  # type: ignore[attr-defined]
    assert found.parameters.num_inference_steps <= model(name).limits.max_steps


def test_a_model_without_that_many_steps_says_how_many_it_takes(normalised: Normalise) -> None:
    limited = normalised("sd-turbo", recipe="concept")
    assert limited.parameters.num_inference_steps == model("sd-turbo").limits.max_steps == 50
    assert limited.warnings[0].startswith("sd-turbo takes at most 50 steps, not the 60 of the recipe 'concept'.")


def test_the_error_for_an_unknown_recipe_suggests_similar_ones() -> None:
    with pytest.raises(InvalidInput, match=r"Try anime") as caught:
        find_recipe("anim")
    assert (caught.value.field, caught.value.code) == ("recipe", "unknown_recipe")


def test_the_cost_is_counted_in_forward_passes() -> None:
    assert fit_recipe(find_recipe("photo"), model("z-image-turbo")).cost_factor == pytest.approx(45 * 2 / 8)
    assert fit_recipe(find_recipe("photo"), model("z-image")).cost_factor == pytest.approx(45 / 40)
