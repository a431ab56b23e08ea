"""Operations on models' weights: pull, verify, follow, cancel."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query
from starlette.responses import Response

from api.caller import Caller
from api.dependencies import AdminDependency, CallerDependency, FarmDependency, json_response, none_match
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.public_address import link
from api.threads import in_thread
from api.views.model_operations import etag_of, has_ended, operation_view
from core.catalogue import CatalogueModel
from core.errors import Conflict, InvalidInput, NotFound
from core.ids import is_id
from core.model_operations import OperationKind
from core.schemas.base import Text, storable
from core.schemas.model_operations import ModelOperation as OperationAnswer
from core.schemas.model_operations import ModelOperationList
from db.model_operations import get_operation, list_operations, request_cancel, start
from db.tables import ModelOperation

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=LazyRoute)
operations_router = APIRouter(prefix="/v1/model-operations", tags=["models"], route_class=LazyRoute)
"""Not below /v1/models, where linters of OpenAPI cannot tell them from a model's own addresses."""

ModelId = Annotated[str, Path(description="Id or alias.", max_length=200)]


async def operation_id_of(operation_id: Annotated[str, Path(description="The operation's id.")]) -> str:
    """Return the id; raise NotFound without a query for text that cannot be an id."""
    if not is_id(operation_id):
        raise NotFound("There is no model operation with this id.", code="operation_not_found")
    return operation_id


OperationId = Annotated[str, Depends(operation_id_of)]


@operations_router.get("", response_model=ModelOperationList, summary="List model operations", responses=error_responses())
async def read_operations(
    farm: FarmDependency,
    caller: CallerDependency,
    model: Annotated[Text | None, Query(description="Only those on the model of this id.", max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """List the latest operations, newest first. Ended ones are kept for 30 days."""
    rows = await in_thread(list_operations, farm.database, model, limit)
    return json_response(ModelOperationList(items=[operation_view(row, caller) for row in rows]))


@operations_router.get(
    "/{operation_id}",
    response_model=OperationAnswer,
    summary="One model operation",
    responses={**error_responses(404), 304: {"description": "Nothing is new."}},
)
async def read_operation(
    farm: FarmDependency,
    caller: CallerDependency,
    operation_id: OperationId,
    wait: Annotated[
        float, Query(ge=0, le=60, description="Seconds to wait for its end, or with If-None-Match for news.")
    ] = 0,
    if_none_match: Annotated[str | None, Header(description="An earlier ETag: 304 when nothing is new.")] = None,
) -> Response:
    """Return an operation with its progress."""
    row = await _wait(farm, operation_id, wait, if_none_match)
    if none_match(if_none_match, etag_of(row)):
        return Response(status_code=304, headers={"ETag": etag_of(row), "Cache-Control": "no-cache"})
    return json_response(operation_view(row, caller), headers={"ETag": etag_of(row)})


async def _wait(farm: Farm, operation_id: str, seconds: float, tag: str | None) -> ModelOperation:
    row: ModelOperation | None = await in_thread(get_operation, farm.database, operation_id)
    if row is not None and seconds <= 0:
        return row
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while row is not None and not _is_news(row, tag) and not farm.closing.is_set():
                row = await farm.operations.next_read(operation_id)
            if row is not None:
                return row
    return await in_thread(get_operation, farm.database, operation_id)


def _is_news(row: ModelOperation, tag: str | None) -> bool:
    return has_ended(row) or (tag is not None and not none_match(tag, etag_of(row)))


@operations_router.post(
    "/{operation_id}/cancel",
    response_model=OperationAnswer,
    summary="Cancel a model operation",
    responses=error_responses(404),
)
async def cancel_operation(farm: FarmDependency, admin: AdminDependency, operation_id: OperationId) -> Response:
    """Cancel an operation: a waiting one at once, a running one within seconds. A partial download is kept and resumes."""
    row = await in_thread(request_cancel, farm.database, operation_id)
    return json_response(operation_view(row, admin))


@router.post(
    "/{model_id}/pull",
    status_code=202,
    response_model=OperationAnswer,
    summary="Pull a model's weights",
    responses=error_responses(404, 409),
)
async def pull_model(farm: FarmDependency, admin: AdminDependency, model_id: ModelId) -> Response:
    """Download and convert a model's weights on the machine of a model manager. Disk space is checked first.

    While a pull of the model is under way, the response is that one.
    """
    model = model_named(farm, model_id)
    if model.files or model.folder:
        raise Conflict(f"{model.id} uses your own files in place: there is nothing to pull.", code="weights_not_pulled")
    return await start_operation(farm, admin, OperationKind.PULL, model)


@router.post(
    "/{model_id}/verify",
    status_code=202,
    response_model=OperationAnswer,
    summary="Verify a model's weights",
    responses=error_responses(404, 409),
)
async def verify_model(farm: FarmDependency, admin: AdminDependency, model_id: ModelId) -> Response:
    """Read every weight file and compare its SHA-256 with what was recorded when it was pulled or first verified."""
    return await start_operation(farm, admin, OperationKind.VERIFY, model_named(farm, model_id))


def model_named(farm: Farm, name: str) -> CatalogueModel:
    """Return a model by id or alias; raise NotFound `model_not_found`."""
    try:
        return farm.catalogue.get(storable(name))
    except InvalidInput as error:
        raise NotFound(error.message, code="model_not_found") from None
    except ValueError:
        raise NotFound("There is no model with this name.", code="model_not_found") from None


async def start_operation(farm: Farm, caller: Caller, kind: OperationKind, model: CatalogueModel) -> Response:
    """Start an operation and return it with 202 and its address."""
    started = await in_thread(start, farm.database, kind, model.id, caller.owner)
    headers = {"Location": link(f"/v1/model-operations/{started.operation.id}")}
    return json_response(operation_view(started.operation, caller), 202, headers)
