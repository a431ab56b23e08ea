"""Recipes: steps and guidance by content type, and what they mean for each model."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dependencies import CallerDependency, FarmDependency, json_response
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from core.catalogue import CatalogueModel
from core.presets import Recipe as RecipeRow
from core.presets import all_recipes, fit_recipe
from core.schemas.models import Recipe, RecipeList, RecipeOfModel, ValueRange

router = APIRouter(prefix="/v1/recipes", tags=["models"], route_class=LazyRoute)


@router.get("", response_model=RecipeList, summary="List recipes", responses=error_responses())
async def read_recipes(
    farm: FarmDependency,
    caller: CallerDependency,
    model: Annotated[str | None, Query(max_length=100, description="Id or alias of one model. Default: all.")] = None,
) -> Response:
    """List recipes with their values and cost for each model. Send an id as `recipe` with a job."""
    return json_response(recipe_list([farm.catalogue.get(model)] if model else list(farm.catalogue)))


def recipe_list(models: list[CatalogueModel]) -> RecipeList:
    """Return all recipes with their values for these models."""
    return RecipeList(items=[_view(recipe, models) for recipe in all_recipes()])


def _view(recipe: RecipeRow, models: list[CatalogueModel]) -> Recipe:
    steps, guidance = (
        None if values is None else ValueRange(min=values.min, max=values.max)
        for values in (recipe.num_inference_steps, recipe.guidance_scale)
    )
    return Recipe(
        id=recipe.id,
        title=recipe.title,
        about=recipe.about,
        num_inference_steps=steps,
        guidance_scale=guidance,
        models=[_of_model(recipe, model) for model in models],
    )


def _of_model(recipe: RecipeRow, model: CatalogueModel) -> RecipeOfModel:
    fitted = fit_recipe(recipe, model)
    return RecipeOfModel(
        model=model.id,
        num_inference_steps=fitted.num_inference_steps,
        guidance_scale=fitted.guidance_scale,
        cost_factor=round(fitted.cost_factor, 2),
        fits=not fitted.warning,
        warning=fitted.warning or None,
    )
