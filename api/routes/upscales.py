"""Upscales: enlarge images, list upscalers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header
from starlette.responses import Response

from api.dependencies import CallerDependency, FarmDependency, SubmitterDependency, json_response
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.public_address import link
from api.routes.batches import full_view
from api.routes.jobs import respond_to_submit
from api.submission import idempotency_key
from api.threads import in_thread
from api.upscales import accept_upscale_batch, list_of, submit_upscale
from core.schemas.batches import Batch
from core.schemas.jobs import Job
from core.schemas.upscales import UpscaleRequest, UpscalerList

router = APIRouter(prefix="/v1", tags=["upscales"], route_class=LazyRoute)


@router.post(
    "/upscales",
    status_code=202,
    response_model=Job | Batch,
    summary="Enlarge images",
    responses=error_responses(400, 408, 409, 413, 415, 429)
    | {200: {"model": Job, "description": "The job ended within `Prefer: wait`."}},
)
async def create_upscale(
    farm: FarmDependency,
    caller: SubmitterDependency,
    request: UpscaleRequest,
    key_header: Annotated[str | None, Header(alias="Idempotency-Key", description="As for POST /v1/jobs.")] = None,
    prefer: Annotated[str | None, Header(description="As for POST /v1/jobs; not for a batch.")] = None,
) -> Response:
    """Answer 202 with a job of kind `upscale`, or for `images` and `uploads` with a batch of them."""
    key = idempotency_key(key_header, request.as_sent())
    if not request.is_batch:
        return await respond_to_submit(farm, await submit_upscale(farm, caller, request, key), prefer)
    submitted = await accept_upscale_batch(farm, caller, request, key)
    headers = {"Location": link(f"/v1/batches/{submitted.batch.id}")}
    headers |= {"Idempotent-Replayed": "true"} if submitted.replayed else {}
    return json_response(await in_thread(full_view, farm, submitted.batch), 202, headers)


@router.get("/upscalers", response_model=UpscalerList, summary="List upscalers", responses=error_responses())
async def read_upscalers(farm: FarmDependency, caller: CallerDependency) -> Response:
    """Return the upscalers, the default first, with the workers that have their weights."""
    return json_response(await list_of(farm))
