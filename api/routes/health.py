"""Health, readiness and Prometheus metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from api.dependencies import FarmDependency, Identified, json_response
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.threads import in_thread
from core.api_keys import Scope
from core.schemas.farm import Health, Readiness
from core.version import VERSION
from db.statistics import oldest_queued, open_counts

router = APIRouter(tags=["health"], route_class=LazyRoute)


_UNKNOWN_HOST: dict[int | str, dict[str, Any]] = {403: error_responses()[403]}


@router.get("/healthz", response_model=Health, summary="Liveness of this process", responses={**_UNKNOWN_HOST})
async def healthz() -> Response:
    """Answer liveness probes without any other part."""
    return json_response(Health(version=VERSION))


@router.get(
    "/readyz",
    response_model=Readiness,
    summary="Whether jobs can be accepted and rendered",
    responses={**_UNKNOWN_HOST, 503: {"model": Readiness, "description": "No job can be accepted."}},
)
async def readyz(farm: FarmDependency) -> Response:
    """Try a write in each part, and say what is wrong with it; the result is kept for a few seconds.

    503 means that submits would fail; `degraded` that jobs are accepted and kept, but something is missing to render them.
    """
    answer = await farm.readiness.check()
    return json_response(answer, 503 if answer.status == "unready" else 200)


@router.get(
    "/metrics",
    response_class=Response,
    summary="Prometheus metrics",
    responses=error_responses()
    | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text format."}},
)
async def read_metrics(farm: FarmDependency, caller: Identified) -> Response:
    """Return the farm's queue and workers, and this process's requests. When keys are required, this needs read-all."""
    caller.require(Scope.READ_ALL)
    counts = await in_thread(open_counts, farm.database)
    oldest = await in_thread(oldest_queued, farm.database)
    await in_thread(farm.metrics.jobs.read, farm.database)
    farm.metrics.farm(await farm.overview.get(), counts, oldest, farm.settings.model_names)
    farm.metrics.process(farm.watcher.hub.waiters, redis=farm.watcher.listening)
    return Response(farm.metrics.text(), media_type=CONTENT_TYPE_LATEST)
