"""Choose a recipe by OpenAI's `quality`, where the model has a range of steps and guidance."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from core.catalogue import CatalogueModel
from core.presets import find_recipe, fit_recipe

_RECIPES: Mapping[str, str] = MappingProxyType(
    {"low": "anime", "high": "photo", "hd": "photo", "xhigh": "art", "max": "concept"}
)
"""Recipes by the number of their forward passes: the fewest for `low`, the most for `max`."""
_OWN = (None, "auto", "medium", "standard")
_ECHOED = ("low", "medium", "high", "xhigh", "max")
_SET_BY_HAND = ("recipe", "num_inference_steps", "steps", "guidance_scale", "cfg_scale")


def chosen_recipe(quality: str | None, model: CatalogueModel, sent: Mapping[str, Any]) -> tuple[dict[str, str], str]:
    """Return the job's field `recipe`, or none, and a sentence for the caller; empty where the model keeps its own values.

    `sent`: the job's fields that the caller set; steps, guidance or a recipe among them win.
    """
    if quality in _OWN:
        return {}, ""
    if any(sent.get(name) is not None for name in _SET_BY_HAND):
        return {}, f"quality '{quality}' has no effect beside steps, guidance or a recipe."
    if quality not in _RECIPES:
        return {}, f"quality '{quality}' has no effect: send low, medium, high, xhigh or max."
    recipe = find_recipe(_RECIPES[quality])
    fitted = fit_recipe(recipe, model)
    cheaper = fitted.cost_factor < 1
    if fitted.warning or cheaper != (quality == "low"):
        own = model.defaults
        return {}, (
            f"quality '{quality}' has no effect: {model.id} keeps its own {own.num_inference_steps} steps at "
            f"guidance_scale {own.guidance_scale:g}."
        )
    return {"recipe": recipe.id}, (
        f"quality '{quality}' uses the recipe '{recipe.id}': {fitted.num_inference_steps} steps at guidance_scale "
        f"{fitted.guidance_scale:g}."
    )


def echoed(quality: str | None) -> str:
    """Return the quality as OpenAI's answers state it."""
    if quality == "hd":
        return "high"
    return quality if quality in _ECHOED else "medium"
