"""Models: the catalogue, the workers that serve each model, and the state of its weights on the API's disk."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from api.dependencies import CallerDependency, FarmDependency, json_response
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.openai.request import is_openai_model
from api.openapi_errors import error_responses
from api.threads import in_thread
from api.views.workers import model_view
from core.api_keys import Scope
from core.catalogue import CatalogueModel, ModelPaths, locate
from core.catalogue.model_folder import read_marker, size_of
from core.catalogue.presence import problems_of
from core.errors import InvalidInput, NotFound, RenderError
from core.schemas.models import Model, ModelList, ModelWeights

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=LazyRoute)


@router.get("", response_model=ModelList, summary="List models", responses=error_responses())
async def read_models(farm: FarmDependency, caller: CallerDependency) -> Response:
    """Return OpenAI's list shape with defaults, limits and workers of each model.

    The farm's default model comes first, then those that live workers serve (`served`), then the rest.
    """
    return json_response(await model_list(farm))


async def model_list(farm: Farm) -> ModelList:
    """Return all models: the farm's default, those that are served, the rest."""
    overview = await farm.overview.get()
    default = farm.model_selector.default(overview).id
    rows = [model_view(model, overview, farm.model_selector, default=model.id == default) for model in farm.catalogue]
    return ModelList(data=sorted(rows, key=lambda row: (not row.default, not row.served)))


@router.get("/{model_id}", response_model=Model, summary="One model", responses=error_responses(404))
async def read_model(
    farm: FarmDependency, caller: CallerDependency, model_id: Annotated[str, Path(description="Id or alias.")]
) -> Response:
    """Return a model by id or alias; an admin also sees whether its weights are on the API's disk.

    A name of OpenAI's, such as `gpt-image-1`, returns the farm's default model under that name.
    """
    overview = await farm.overview.get()
    if is_openai_model(model_id):
        meant = farm.model_selector.default(overview)
        view = model_view(meant, overview, farm.model_selector, default=True)
        about = f"Means the farm's default model here: {meant.id}. {view.about}"
        return json_response(view.model_copy(update={"id": model_id, "about": about}))
    try:
        model = farm.catalogue.get(model_id)
    except InvalidInput as error:
        raise NotFound(error.message, code="model_not_found") from None
    default = farm.model_selector.default(overview).id == model.id
    view = model_view(model, overview, farm.model_selector, default=default)
    if caller.may(Scope.ADMIN):
        weights = await in_thread(weights_view, model, ModelPaths.of(farm.settings))
        view = view.model_copy(update={"weights": weights})
    return json_response(view)


def weights_view(model: CatalogueModel, model_paths: ModelPaths) -> ModelWeights:
    """Look for the weights as a worker on this machine would; only names, sizes and headers are read."""
    try:
        located = locate(model, model_paths)
    except RenderError as error:
        return ModelWeights(present=False, problems=problems_of(model, model_paths), missing=error.message)
    except OSError as error:
        return ModelWeights(present=False, problems=[f"The disk refused: {error.strerror or error}."])
    if problems := problems_of(model, model_paths):
        return ModelWeights(present=False, problems=problems)
    if located.files:
        size = sum(path.stat().st_size for path in set(located.files.values()))
    else:
        marker = read_marker(located.directory)
        size = marker.size_bytes if marker else size_of(located.directory)
    return ModelWeights(present=True, origin=located.origin, size_bytes=size, problems=[])
