"""Estimate: what a request would take."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from api.dependencies import FarmDependency, SubmitterDependency, json_response
from api.estimate import estimate
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from core.schemas.estimate import Estimate
from core.schemas.jobs import JobRequest

router = APIRouter(prefix="/v1/estimate", tags=["jobs"], route_class=LazyRoute)


@router.post(
    "", response_model=Estimate, summary="Estimate a job", responses=error_responses(400, 404, 408, 409, 410, 413, 415)
)
async def read_estimate(farm: FarmDependency, caller: SubmitterDependency, request: JobRequest) -> Response:
    """Check the body of POST /v1/jobs and return expected seconds, memory, place and warnings. Nothing is queued."""
    return json_response(await estimate(farm, caller, request))
