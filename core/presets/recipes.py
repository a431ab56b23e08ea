"""Recipes: steps and guidance by content type, read from recipes.toml, and what each means for a model."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field

from core.catalogue import CatalogueModel
from core.errors import InvalidInput

AUTHORS = "authors"
"""Id of the recipe that is each model's own: the values that its authors recommend."""


class Range(BaseModel):
    """A range of values; without `max` it is open."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: float
    max: float | None = None

    @property
    def middle(self) -> float:
        """Return the value that a request gets."""
        return self.min if self.max is None else (self.min + self.max) / 2


class Recipe(BaseModel):
    """Steps and guidance for one kind of content; None for the model's own values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    title: str
    about: str
    guidance_scale: Range | None = None
    num_inference_steps: Range | None = None


@dataclass(frozen=True)
class FittedRecipe:
    """A recipe's values for one model. `warning`: why the model's authors advise others; empty where it fits.

    `cost_factor`: its forward passes divided by those of the model's defaults.
    """

    num_inference_steps: int
    guidance_scale: float
    cost_factor: float
    warning: str = ""


@cache
def all_recipes() -> tuple[Recipe, ...]:
    """Return every recipe, the authors' first."""
    data = tomllib.loads(files("core.presets").joinpath("recipes.toml").read_text(encoding="utf-8"))
    own = Recipe(id=AUTHORS, title="The authors' own", about="Steps and guidance that the model's authors recommend.")
    return (own, *(Recipe.model_validate(row) for row in data["recipe"]))


def find_recipe(recipe_id: str) -> Recipe:
    """Return the recipe of that id; the InvalidInput for an unknown id suggests similar ones."""
    known = {recipe.id: recipe for recipe in all_recipes()}
    if recipe_id in known:
        return known[recipe_id]
    near = difflib.get_close_matches(recipe_id, known, n=3) or list(known)
    raise InvalidInput(
        f"There is no recipe called '{recipe_id}'. Try {', '.join(near)}.", field="recipe", code="unknown_recipe"
    )


def fit_recipe(recipe: Recipe, model: CatalogueModel) -> FittedRecipe:
    """Return the recipe's values for a model, within its limits."""
    defaults, limits = model.defaults, model.limits
    steps, guidance = defaults.num_inference_steps, defaults.guidance_scale
    wanted = round(recipe.num_inference_steps.middle) if recipe.num_inference_steps is not None else steps
    steps = min(max(wanted, 1), limits.max_steps)
    if recipe.guidance_scale is not None and model.cfg != "none":
        guidance = min(recipe.guidance_scale.middle, limits.max_guidance_scale)
    factor = model.forward_passes(steps, guidance) / model.default_passes
    return FittedRecipe(steps, guidance, factor, _warning(recipe, model, wanted, steps, guidance, factor))


def _warning(recipe: Recipe, model: CatalogueModel, wanted: int, steps: int, guidance: float, factor: float) -> str:
    if recipe.id == AUTHORS:
        return ""
    found = []
    if steps < wanted:
        found.append(f"{model.id} takes at most {steps} steps, not the {wanted} of the recipe '{recipe.id}'.")
    if model.cfg == "none":
        found.append(f"{model.id} has no guidance: only the steps of the recipe '{recipe.id}' are used.")
    defaults = model.defaults
    if not model.guidance_is_on(defaults.guidance_scale):
        found.append(
            f"The recipe '{recipe.id}' ({steps} steps, guidance_scale {guidance:g}) costs {factor:.1f}x what the authors of "
            f"{model.id} recommend ({defaults.num_inference_steps} steps, "
            f"{'no guidance' if model.cfg == 'none' else 'guidance_scale 1, which is off'}) and may oversaturate the image. "
            f'Send "recipe": "{AUTHORS}" for theirs.'
        )
    return " ".join(found)
