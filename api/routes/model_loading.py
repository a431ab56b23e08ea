"""Load and unload models on workers, for administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from api.dependencies import AdminDependency, FarmDependency, json_response
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.model_loading import ask_workers
from api.openapi_errors import error_responses
from api.overview import read_overview
from api.threads import in_thread
from core.errors import InvalidInput, NotFound
from core.schemas.models import ModelRequestAnswer, ModelRequestBody
from db.worker_models import Request
from db.workers import running_counts

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=LazyRoute)

ModelId = Annotated[str, Path(description="Id or alias.")]


@router.post(
    "/{model_id}/load",
    response_model=ModelRequestAnswer,
    status_code=202,
    summary="Load a model",
    responses=error_responses(400, 404, 408, 409, 413, 415),
)
async def load_model(
    farm: FarmDependency, admin: AdminDependency, model_id: ModelId, body: ModelRequestBody | None = None
) -> Response:
    """Ask one worker that serves the model to load it: the named one, else the one that can do it soonest."""
    return await _ask(farm, model_id, "load", body)


@router.post(
    "/{model_id}/unload",
    response_model=ModelRequestAnswer,
    status_code=202,
    summary="Unload a model",
    responses=error_responses(400, 404, 408, 409, 413, 415),
)
async def unload_model(
    farm: FarmDependency, admin: AdminDependency, model_id: ModelId, body: ModelRequestBody | None = None
) -> Response:
    """Ask the named worker, else all that hold the model, to free its memory. The next job for it loads it again."""
    return await _ask(farm, model_id, "unload", body)


async def _ask(farm: Farm, model_id: str, request: Request, body: ModelRequestBody | None) -> Response:
    try:
        model = farm.catalogue.get(model_id).id
    except InvalidInput as error:
        raise NotFound(error.message, code="model_not_found") from None
    worker = body.worker if body is not None else None

    def ask() -> ModelRequestAnswer:
        return ask_workers(
            farm.database, read_overview(farm.database), running_counts(farm.database), model, request, worker
        )

    return json_response(await in_thread(ask), 202)
