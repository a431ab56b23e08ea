"""OpenAI's `quality` as a recipe."""

from __future__ import annotations

import pytest

from api.openai.quality import chosen_recipe, echoed
from core.catalogue import load_catalogue


@pytest.mark.parametrize(
    ("quality", "recipe"), [("low", "anime"), ("medium", None), ("high", "photo"), ("hd", "photo"), ("max", "concept")]
)
def test_a_model_with_a_range_gets_a_recipe(quality: str, recipe: str | None) -> None:
    fields, said = chosen_recipe(quality, load_catalogue().get("z-image"), {})
    assert fields.get("recipe") == recipe
    assert (f"uses the recipe '{recipe}'" in said) == (recipe is not None)


@pytest.mark.parametrize("quality", ["low", "high", "standard", "best", None])
def test_a_distilled_model_keeps_its_own_steps(quality: str | None) -> None:
    fields, said = chosen_recipe(quality, load_catalogue().get("z-image-turbo"), {})
    assert fields == {}
    assert ("has no effect" in said) == (quality in ("low", "high", "best"))


def test_steps_that_the_caller_sends_win() -> None:
    fields, said = chosen_recipe("high", load_catalogue().get("z-image"), {"steps": 20})
    assert (fields, "beside steps" in said) == ({}, True)
    assert [echoed(quality) for quality in (None, "auto", "hd", "low", "standard")] == [
        "medium",
        "medium",
        "high",
        "low",
        "medium",
    ]
