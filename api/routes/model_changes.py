"""Add and remove models of the user's catalogue, and remove pulled weights."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dependencies import AdminDependency, FarmDependency
from api.openapi_errors import error_responses
from api.routes.model_operations import ModelId, model_named, start_operation
from core.errors import Conflict
from core.model_operations import OperationKind
from core.schemas.model_operations import ModelOperation as OperationAnswer

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.delete(
    "/{model_id}",
    status_code=202,
    response_model=OperationAnswer,
    summary="Remove a model",
    responses=error_responses(404, 409),
)
async def remove_model(
    farm: FarmDependency,
    admin: AdminDependency,
    model_id: ModelId,
    weights: Annotated[bool, Query(description="Remove the pulled weights of a model that imagefarm ships.")] = False,
) -> Response:
    """Remove the weights of a shipped model."""
    model = model_named(farm, model_id)
    if (await farm.overview.get()).serving(model.id):
        raise Conflict(f"A live worker serves {model.id}: stop it first.", code="model_in_use")
    if not weights:
        raise Conflict(
            f"{model.id} is part of imagefarm and stays in the list. Send ?weights=true to remove its pulled weights.",
            code="model_shipped",
        )
    return await start_operation(farm, admin, OperationKind.REMOVE_WEIGHTS, model)
