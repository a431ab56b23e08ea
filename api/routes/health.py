"""Health, readiness and Prometheus metrics."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy import text
from starlette.responses import Response

from api.dependencies import FarmDependency, Identified, json_response
from api.farm import Farm
from api.openapi_errors import error_responses
from api.threads import in_thread
from core.api_keys import Scope
from core.errors import FarmError
from core.schemas.farm import Check, Health, Readiness
from core.version import VERSION
from db.statistics import oldest_queued, open_counts

router = APIRouter(tags=["health"])


@router.get("/healthz", response_model=Health, summary="Liveness of this process")
async def healthz() -> Response:
    """Answer liveness probes without any other part."""
    return json_response(Health(version=VERSION))


@router.get(
    "/readyz",
    response_model=Readiness,
    summary="Whether jobs can be accepted and rendered",
    responses={503: {"model": Readiness, "description": "No job can be accepted."}},
)
async def readyz(farm: FarmDependency) -> Response:
    """Return 503 only when jobs cannot be accepted; `degraded` when they are kept but not rendered now."""
    checks = {"database": await _database(farm), "redis": await _redis(farm), "workers": await _workers(farm)}
    ready = checks["database"].ok
    status = "ready" if all(check.ok for check in checks.values()) else "degraded" if ready else "unready"
    return json_response(Readiness(status=status, checks=checks), 200 if ready else 503)


async def _database(farm: Farm) -> Check:
    def ask() -> None:
        with farm.database.read() as session:
            session.execute(text("SELECT 1 FROM jobs LIMIT 1"))

    try:
        await in_thread(ask)
    except FarmError as error:
        return Check(ok=False, detail=error.message)
    except Exception as error:  # noqa: BLE001 -- a health check reports any error
        return Check(
            ok=False,
            detail=f"The tables do not have the expected form ({type(error).__name__}): run `imagefarm db upgrade`.",
        )
    return Check(ok=True, detail="answers")


async def _redis(farm: Farm) -> Check:
    if await farm.watcher.ping():
        return Check(ok=True, detail="answers")
    return Check(ok=False, detail="Redis does not answer: jobs are accepted and kept, and run once it is back.")


async def _workers(farm: Farm) -> Check:
    try:
        overview = await farm.overview.get()
    except FarmError:
        return Check(ok=False, detail="unknown while the database does not answer")
    ready = [worker.name for worker in overview.live if worker.state == "ready"]
    if ready:
        return Check(ok=True, detail=f"ready: {', '.join(ready)}")
    if overview.live:
        return Check(ok=False, detail=f"not ready yet: {', '.join(worker.name for worker in overview.live)}")
    return Check(ok=False, detail="No worker is up: jobs are accepted and kept.")


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
    farm.metrics.farm(await farm.overview.get(), counts, oldest)
    farm.metrics.process(farm.watcher.hub.waiters, redis=farm.watcher.listening)
    return Response(farm.metrics.text(), media_type=CONTENT_TYPE_LATEST)
