"""Usage: rendered jobs, images and pixels by day and owner."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dependencies import CallerDependency, FarmDependency, json_response
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.threads import in_thread
from core.schemas.farm import Usage, UsageDay
from db.usage import DailyUsage, usage

router = APIRouter(prefix="/v1/usage", tags=["usage"], route_class=LazyRoute)

_EPOCH = date(1970, 1, 1)


@router.get("", response_model=Usage, summary="Usage by day and owner", responses=error_responses())
async def read_usage(
    farm: FarmDependency, caller: CallerDependency, days: Annotated[int, Query(ge=1, le=366)] = 30
) -> Response:
    """Return your own usage, or that of all owners with read-all. Deleted jobs are no longer counted."""
    rows = await in_thread(usage, farm.database, days, caller.visible_owner)
    return json_response(
        Usage(
            items=[_day(row) for row in rows],
            jobs=sum(row.jobs for row in rows),
            images=sum(row.images for row in rows),
            pixels=sum(row.pixels for row in rows),
            render_seconds=round(sum(row.render_seconds for row in rows), 3),
        )
    )


def _day(row: DailyUsage) -> UsageDay:
    return UsageDay(
        day=_EPOCH + timedelta(days=row.day),
        owner=row.owner,
        jobs=row.jobs,
        images=row.images,
        pixels=row.pixels,
        render_seconds=round(row.render_seconds, 3),
    )
