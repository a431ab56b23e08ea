"""Weight files on the API's machine; add and remove models of the user's catalogue, and remove pulled weights."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dependencies import AdminDependency, FarmDependency, json_response
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.public_address import link
from api.routes.model_operations import ModelId, model_named, start_operation
from api.threads import in_thread
from api.views.workers import model_view
from core.catalogue import catalogue_of
from core.catalogue.add_model import Added, AddOptions, add_model, add_repository, remove_model
from core.catalogue.catalogue import Component
from core.catalogue.listed_files import ListedFile, find_listed, list_files
from core.errors import Conflict, InvalidInput
from core.model_operations import OperationKind
from core.schemas.model_files import AddedModel, AddModelRequest, ModelFile, ModelFileList
from core.schemas.model_operations import ModelOperation as OperationAnswer
from core.settings import Settings

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=LazyRoute)


@router.get("/files", response_model=ModelFileList, summary="List weight files", responses=error_responses())
async def read_files(farm: FarmDependency, admin: AdminDependency) -> Response:
    """List the files in the weights folders of the API's machine, with what each is and the models that use it."""
    return json_response(await in_thread(_files, farm.settings))


def _files(settings: Settings) -> ModelFileList:
    catalogue = catalogue_of(settings, fresh=True)
    return ModelFileList(
        items=[_file_view(each) for each in list_files(settings, catalogue)], problems=list(catalogue.problems)
    )


def _file_view(listed: ListedFile) -> ModelFile:
    file = listed.file
    return ModelFile(
        path=listed.path,
        folder=str(listed.root),
        purpose=listed.purpose,
        kind=file.kind,
        container=file.container,
        architectures=list(file.architectures),
        components=list(file.components),
        precision=file.precision,
        size_bytes=file.size_bytes,
        sentence=file.sentence,
        models=list(listed.models),
    )


@router.post(
    "",
    status_code=201,
    response_model=AddedModel,
    summary="Add a model",
    responses=error_responses(400, 408, 409, 413, 415),
)
async def create_model(farm: FarmDependency, admin: AdminDependency, wanted: AddModelRequest) -> Response:
    """Add a model made of listed files, or of a repository that you pull afterwards. Only headers are read."""
    added = await in_thread(_add, farm.settings, wanted)
    view = model_view(added.row, await farm.overview.get(), farm.model_selector, default=False)
    headers = {"Location": link(f"/v1/models/{added.row.id}")}
    return json_response(AddedModel(model=view, sentences=list(added.sentences)), 201, headers)


def _add(settings: Settings, wanted: AddModelRequest) -> Added:
    if (wanted.path is None) == (wanted.repo is None):
        raise InvalidInput("Send either `path`, a listed file, or `repo`, a repository of the hub.", field="path")
    files = list_files(settings, catalogue_of(settings, fresh=True))
    given: dict[Component, str | None] = {
        "text_encoder": wanted.text_encoder,
        "text_encoder_2": wanted.text_encoder_2,
        "vae": wanted.vae,
    }
    named = {component: find_listed(files, name, component) for component, name in given.items() if name is not None}
    options = AddOptions(wanted.name, named, wanted.base)
    if wanted.repo is not None:
        return add_repository(settings, wanted.repo, options)
    return add_model(settings, str(find_listed(files, wanted.path or "", "path")), options)


@router.delete(
    "/{model_id}",
    status_code=202,
    response_model=OperationAnswer,
    summary="Remove a model or its weights",
    responses={**error_responses(404, 409), 204: {"description": "The model that you added is no longer in the list."}},
)
async def delete_model(
    farm: FarmDependency,
    admin: AdminDependency,
    model_id: ModelId,
    weights: Annotated[
        bool, Query(description="Remove the weights that the farm has pulled; the model stays listed.")
    ] = False,
) -> Response:
    """Remove a model that you added from the list; its files stay. `?weights=true` removes pulled weights instead."""
    model = model_named(farm, model_id)
    if (await farm.overview.get()).serving(model.id):
        raise Conflict(f"A live worker serves {model.id}: stop it first.", code="model_in_use")
    if weights:
        if model.files or model.folder:
            raise Conflict(
                f"{model.id} uses your own files in place, which imagefarm does not delete: delete them yourself.",
                code="weights_not_pulled",
            )
        return await start_operation(farm, admin, OperationKind.REMOVE_WEIGHTS, model)
    try:
        await in_thread(remove_model, farm.settings, model.id)
    except InvalidInput as error:
        shipped = " Send ?weights=true to remove its pulled weights." if error.code == "model_shipped" else ""
        raise Conflict(error.message + shipped, code=error.code) from None
    return Response(status_code=204)
