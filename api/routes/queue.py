"""State of the whole queue."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from api.dependencies import CallerDependency, FarmDependency, json_response
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.overview import Overview
from api.threads import in_thread
from api.views.queue import eta, reason_not_served
from core.schemas.workers import Queue, QueueOfModel
from db.statistics import RecentMean, open_counts

router = APIRouter(prefix="/v1/queue", tags=["queue"], route_class=LazyRoute)


@router.get("", response_model=Queue, summary="Queued and running jobs per model", responses=error_responses())
async def read_queue(farm: FarmDependency, caller: CallerDependency) -> Response:
    """Return for each model the number of queued jobs, its workers, and when the last job may end."""
    overview = await farm.overview.get()
    recent = await farm.recent_means()
    counts = await in_thread(open_counts, farm.database)
    models = sorted({*counts, *(model for worker in overview.live for model in overview.listed(worker))})
    rows = [_row(model, counts.get(model, {}), overview, recent.get(model)) for model in models]
    return json_response(
        Queue(
            queued=sum(row.queued for row in rows),
            running=sum(row.running for row in rows),
            held=sum(row.held for row in rows),
            models=rows,
        )
    )


def _row(model: str, counts: dict[str, int], overview: Overview, recent: RecentMean | None) -> QueueOfModel:
    workers, queued = overview.serving(model), counts.get("queued", 0)
    return QueueOfModel(
        model=model,
        queued=queued,
        running=counts.get("running", 0),
        held=counts.get("held", 0),
        live_workers=len(workers),
        capacity=overview.capacity(model),
        seconds_per_job=None if recent is None else recent.seconds,
        eta_seconds=eta(model, queued, overview, recent) if queued else None,
        reason=reason_not_served(model, overview) if queued and not workers else None,
    )
