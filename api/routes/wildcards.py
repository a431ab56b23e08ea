"""Wildcards: the texts that dynamic prompts choose from."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from api.dependencies import AdminDependency, CallerDependency, FarmDependency, json_response
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.threads import in_thread
from core.schemas.wildcards import Wildcard, WildcardList, WildcardText
from core.wildcards import Wildcard as WildcardValues

router = APIRouter(prefix="/v1/wildcards", tags=["styles"], route_class=LazyRoute)

_SHOWN = 5
Name = Annotated[str, Path(max_length=200, description="Name of the file without `.txt`.")]


@router.get("", response_model=WildcardList, summary="List wildcards", responses=error_responses())
async def read_wildcards(farm: FarmDependency, caller: CallerDependency) -> Response:
    """List wildcards with their first values. Write `__name__` into a prompt, and send `dynamic` with the job."""
    return json_response(await wildcard_list(farm))


async def wildcard_list(farm: Farm) -> WildcardList:
    """Return all wildcards."""
    found = await in_thread(farm.wildcards.all)
    return WildcardList(items=[_view(each) for each in found.values()])


@router.get("/{name}", response_model=Wildcard, summary="One wildcard", responses=error_responses(404))
async def read_wildcard(farm: FarmDependency, caller: CallerDependency, name: Name) -> Response:
    """Return all values of a wildcard."""
    return json_response(await in_thread(_full_view, farm, name))


@router.put(
    "/{name}",
    response_model=Wildcard,
    summary="Add or change a wildcard",
    responses=error_responses(400, 408, 413, 415) | {201: {"model": Wildcard, "description": "It is new."}},
)
async def write_wildcard(farm: FarmDependency, caller: AdminDependency, name: Name, wanted: WildcardText) -> Response:
    """Store the values of a wildcard; one that would refer to itself is refused."""
    is_new = await in_thread(farm.wildcards.write, name, wanted.text)
    return json_response(await in_thread(_full_view, farm, name), 201 if is_new else 200)


@router.delete("/{name}", status_code=204, summary="Delete a wildcard", responses=error_responses(404))
async def delete_wildcard(farm: FarmDependency, caller: AdminDependency, name: Name) -> Response:
    """Delete a wildcard. Jobs keep the texts that they were submitted with."""
    await in_thread(farm.wildcards.delete, name)
    return Response(status_code=204)


def _full_view(farm: Farm, name: str) -> Wildcard:
    text = farm.wildcards.text(name)
    return _view(WildcardValues(name, tuple(text.splitlines()))).model_copy(update={"text": text})


def _view(wildcard: WildcardValues) -> Wildcard:
    return Wildcard(name=wildcard.name, count=len(wildcard.values), values=list(wildcard.values[:_SHOWN]))
