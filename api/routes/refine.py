"""Refine an image at a larger size; follow what it was made from and what was made from it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header
from starlette.responses import Response

from api.dependencies import CallerDependency, FarmDependency, ImageId, SubmitterDependency, json_response
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.refine import submit_refinement
from api.routes.jobs import respond_to_submit
from api.submission import idempotency_key
from api.threads import in_thread
from api.views.lineage import lineage_view
from core.schemas.jobs import Job
from core.schemas.refine import Lineage, RefineRequest
from db.images import get_image
from db.jobs.read import get_job
from db.lineage import lineage_of

router = APIRouter(prefix="/v1/images", tags=["images"], route_class=LazyRoute)


@router.post(
    "/{image_id}/refine",
    status_code=202,
    response_model=Job,
    summary="Refine an image at a larger size",
    responses=error_responses(400, 404, 408, 409, 410, 413, 415, 429)
    | {200: {"model": Job, "description": "The job ended within `Prefer: wait`."}},
)
async def create_refinement(
    farm: FarmDependency,
    caller: SubmitterDependency,
    image_id: ImageId,
    request: RefineRequest,
    key_header: Annotated[str | None, Header(alias="Idempotency-Key", description="As for POST /v1/jobs.")] = None,
    prefer: Annotated[str | None, Header(description="As for POST /v1/jobs.")] = None,
) -> Response:
    """Answer 202 once the job is committed; it names the image as its `parent`."""
    key = idempotency_key(key_header, {"refine": image_id, **request.as_sent()})
    return await respond_to_submit(farm, await submit_refinement(farm, caller, image_id, request, key), prefer)


@router.get(
    "/{image_id}/lineage",
    response_model=Lineage,
    summary="What an image was made from, and what from it",
    responses=error_responses(404, 410),
)
async def read_lineage(farm: FarmDependency, caller: CallerDependency, image_id: ImageId) -> Response:
    """Return the ancestors up to the first that is gone, and the descendants, 32 generations and 500 images at most."""
    image = await in_thread(get_image, farm.database, image_id, caller.visible_owner)
    job = await in_thread(get_job, farm.database, image.job_id)
    return json_response(lineage_view(await in_thread(lineage_of, farm.database, image, job, caller.visible_owner)))
