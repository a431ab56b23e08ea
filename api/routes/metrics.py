"""Metrics."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from api.dependencies import FarmDependency, Identified
from api.documents import problems
from api.threads import in_thread
from core.keys import Scope
from db.statistics import oldest_queued, open_counts

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    response_class=Response,
    summary="For Prometheus",
    responses=problems()
    | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text format."}},
)
async def read_metrics(farm: FarmDependency, caller: Identified) -> Response:
    """The whole farm's queue and workers, and this process's requests. With keys in force it needs read-all."""
    caller.require(Scope.READ_ALL)
    counts = await in_thread(open_counts, farm.database)
    oldest = await in_thread(oldest_queued, farm.database)
    farm.metrics.farm(await farm.overview.get(), counts, oldest)
    farm.metrics.process(farm.watcher.hub.waiters, redis=farm.watcher.listening)
    return Response(farm.metrics.text(), media_type=CONTENT_TYPE_LATEST)
