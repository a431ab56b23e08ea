"""Models: the catalogue, and who serves what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from api.answers import json_answer
from api.dependencies import CallerDependency, FarmDependency
from api.documents import problems
from api.views.workers import model_answer
from core.errors import InvalidInput, NotFound
from core.schemas.model import Model, ModelList

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", response_model=ModelList, summary="List models", responses=problems())
async def read_models(farm: FarmDependency, caller: CallerDependency) -> Response:
    """OpenAI's list shape, with defaults, limits and who serves each model. The farm's default comes first."""
    overview = await farm.overview.get()
    default = farm.admission.default(overview).id
    rows = [
        model_answer(model, overview, farm.admission, default=model.id == default)
        for model in sorted(farm.catalogue, key=lambda row: row.id != default)
    ]
    return json_answer(ModelList(data=rows))


@router.get("/{model_id}", response_model=Model, summary="One model", responses=problems(404))
async def read_model(
    farm: FarmDependency, caller: CallerDependency, model_id: Annotated[str, Path(description="Id or alias.")]
) -> Response:
    """By id or alias."""
    overview = await farm.overview.get()
    try:
        model = farm.catalogue.get(model_id)
    except InvalidInput as error:
        raise NotFound(error.message, code="model_not_found") from None
    default = farm.admission.default(overview).id == model.id
    return json_answer(model_answer(model, overview, farm.admission, default=default))
