"""LoRAs: the files that jobs may name."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Header, Path
from starlette.responses import Response

from api.dependencies import CallerDependency, FarmDependency, json_response, none_match
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.threads import in_thread
from api.views.loras import lora_list, loras_called
from core.errors import NotFound, Unavailable
from core.schemas.loras import LoraList

router = APIRouter(prefix="/v1/loras", tags=["models"], route_class=LazyRoute)


@router.get(
    "",
    response_model=LoraList,
    summary="List LoRAs",
    responses=error_responses() | {304: {"description": "Not modified."}},
)
async def read_loras(
    farm: FarmDependency, caller: CallerDependency, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    """List the LoRA files that the API's machine has, damaged ones with the reason. Only their headers are read."""
    response = json_response(await all_loras(farm))
    tag = f'"{hashlib.sha256(response.body).hexdigest()[:32]}"'
    response.headers["ETag"] = tag
    if none_match(if_none_match, tag):
        return Response(status_code=304, headers={"ETag": tag, "Cache-Control": "no-cache"})
    return response


async def all_loras(farm: Farm) -> LoraList:
    """Return all LoRA files."""
    return await farm.single_flight.join("loras", lambda: in_thread(lora_list, farm.loras, farm.catalogue))


async def _read_whole(farm: Farm, name: str) -> LoraList:
    async with farm.hashing:
        return await in_thread(loras_called, farm.loras, farm.catalogue, name)


@router.get("/{name}", response_model=LoraList, summary="One LoRA with its hashes", responses=error_responses(404))
async def read_lora(
    farm: FarmDependency, caller: CallerDependency, name: Annotated[str, Path(description="Name from the list.")]
) -> Response:
    """Return the files of that name. The first call reads them as a whole to compute their hashes, one name at a time."""
    try:
        found = await farm.single_flight.join(("lora", name), lambda: _read_whole(farm, name))
    except OSError as error:
        raise Unavailable(f"The LoRA cannot be read: {error.strerror or error}.", code="storage_unavailable") from None
    if not found.items:
        raise NotFound("There is no LoRA of this name; GET /v1/loras lists them.", code="lora_not_found")
    return json_response(found)
