"""History of the farm: throughput, waits, queues by owner, events."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dependencies import CallerDependency, FarmDependency, json_response
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.threads import in_thread
from core.schemas.statistics import Bucket, FarmEvent, QueueOfOwner, Statistics
from db.history import EndedJobs, ended_jobs, farm_events, open_by_owner

router = APIRouter(prefix="/v1", tags=["farm"], route_class=LazyRoute)

_BUCKETS = 48


@router.get("/statistics", response_model=Statistics, summary="History of the farm", responses=error_responses())
async def read_statistics(
    farm: FarmDependency, caller: CallerDependency, hours: Annotated[int, Query(ge=1, le=24 * 31)] = 24
) -> Response:
    """Return ended jobs by time, open jobs by owner and events. Without read-all, jobs and events are your own."""
    live = sorted((await farm.overview.get()).live_names)
    found = await farm.single_flight.join(
        ("statistics", hours, caller.visible_owner), lambda: in_thread(_read, farm, hours, live, caller.visible_owner)
    )
    return json_response(found)


def _read(farm: Farm, hours: int, live: list[str], owner: str | None) -> Statistics:
    seconds = hours * 3600
    span = max(seconds // _BUCKETS, 60)
    ended, truncated = ended_jobs(farm.database, seconds, span)
    return Statistics(
        hours=hours,
        bucket_seconds=span,
        buckets=_filled(ended, seconds, span),
        queues=[
            QueueOfOwner(
                model=model,
                owner=name,
                queued=counts.get("queued", 0),
                running=counts.get("running", 0),
                held=counts.get("held", 0),
            )
            for model, name, counts in open_by_owner(farm.database, owner)
        ],
        events=[
            FarmEvent(at=_moment(each.at), kind=each.kind, worker=each.worker, job_id=each.job_id, message=each.message)
            for each in farm_events(farm.database, seconds, live, owner)
        ],
        truncated=truncated,
    )


def _filled(ended: list[EndedJobs], seconds: int, span: int) -> list[Bucket]:
    """Return every bucket of the time, those without jobs too."""
    by_number = {row.number: row for row in ended}
    last = int(time.time() // span)
    numbers = range(last - seconds // span + 1, last + 1)
    rows = [by_number.get(number, EndedJobs(number, 0, 0, None, None)) for number in numbers]
    return [
        Bucket(
            start=_moment(row.number * span),
            succeeded=row.succeeded,
            failed=row.failed,
            wait_seconds=row.wait_seconds,
            run_seconds=row.run_seconds,
        )
        for row in rows
    ]


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
