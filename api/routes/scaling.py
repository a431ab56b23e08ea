"""Load of the farm for autoscalers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dependencies import CallerDependency, FarmDependency, json_response
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.scaling import scaling_of
from api.threads import in_thread
from core.catalogue import catalogue_of
from core.queue import UPSCALE
from core.schemas.scaling import Scaling
from db.statistics import open_counts

router = APIRouter(prefix="/v1/scaling", tags=["queue"], route_class=LazyRoute)


@router.get("", response_model=Scaling, summary="How many workers the queue needs", responses=error_responses())
async def read_scaling(
    farm: FarmDependency,
    caller: CallerDependency,
    model: Annotated[str | None, Query(max_length=64, description="only the load of this model")] = None,
    jobs_per_worker: Annotated[int | None, Query(ge=1, le=1000, description="jobs for each desired worker")] = None,
) -> Response:
    """Return queued and running jobs, the workers that they need, and how long a new worker takes to start.

    Without `jobs_per_worker` it is what a live worker of the model holds at once, and 1 where none is live.
    """
    known = model if model in (None, UPSCALE) else catalogue_of(farm.settings).get(model).id
    counts = await in_thread(open_counts, farm.database)
    return json_response(scaling_of(counts, await farm.overview.get(), known, jobs_per_worker))
