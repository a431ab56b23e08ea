"""Workers: list, pause, resume, drain."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from api.dependencies import AdminDependency, CallerDependency, FarmDependency, json_response
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.threads import in_thread
from api.views.workers import worker_view
from core.errors import NotFound
from core.schemas.base import storable
from core.schemas.workers import Worker as WorkerAnswer
from core.schemas.workers import WorkerList
from db.tables import Worker
from db.worker_models import models_by_worker
from db.workers import all_workers, live_workers, request_drain, running_counts, set_paused

router = APIRouter(prefix="/v1/workers", tags=["workers"], route_class=LazyRoute)

WorkerName = Annotated[str, Path(max_length=120, description="The worker's name.", examples=["studio-gpu0"])]


def worker_rows(farm: Farm) -> list[WorkerAnswer]:
    """Return all registered workers, by name."""
    live = {worker.name for worker in live_workers(farm.database)}
    running, models = running_counts(farm.database), models_by_worker(farm.database)
    return [
        worker_view(worker, models.get(worker.name, ()), live=worker.name in live, running=running.get(worker.name, 0))
        for worker in all_workers(farm.database)
    ]


@router.get("", response_model=WorkerList, summary="List workers", responses=error_responses())
async def read_workers(farm: FarmDependency, caller: CallerDependency) -> Response:
    """List all registered workers, live or not."""
    return json_response(WorkerList.model_construct(items=await in_thread(worker_rows, farm)))


@router.get("/{name}", response_model=WorkerAnswer, summary="One worker", responses=error_responses(404))
async def read_worker(farm: FarmDependency, caller: CallerDependency, name: WorkerName) -> Response:
    """Return a worker by name."""
    for row in await in_thread(worker_rows, farm):
        if row.name == name:
            return json_response(row)
    raise NotFound("There is no worker with this name.", code="worker_not_found")


@router.post("/{name}/pause", response_model=WorkerAnswer, summary="Pause a worker", responses=error_responses(404, 409))
async def pause_worker(farm: FarmDependency, admin: AdminDependency, name: WorkerName) -> Response:
    """Pause a worker: it finishes its jobs and claims no new ones until it is resumed."""
    return await _answer(farm, await in_thread(set_paused, farm.database, _name(name), paused=True))


@router.post("/{name}/resume", response_model=WorkerAnswer, summary="Resume a worker", responses=error_responses(404, 409))
async def resume_worker(farm: FarmDependency, admin: AdminDependency, name: WorkerName) -> Response:
    """Resume a worker: it claims jobs again."""
    return await _answer(farm, await in_thread(set_paused, farm.database, _name(name), paused=False))


@router.post("/{name}/drain", response_model=WorkerAnswer, summary="Drain a worker", responses=error_responses(404, 409))
async def drain_worker(farm: FarmDependency, admin: AdminDependency, name: WorkerName) -> Response:
    """Drain a worker: it finishes its jobs, then stops."""
    return await _answer(farm, await in_thread(request_drain, farm.database, _name(name)))


async def _answer(farm: Farm, worker: Worker) -> Response:
    for row in await in_thread(worker_rows, farm):
        if row.name == worker.name:
            return json_response(row)
    raise NotFound("There is no worker with this name.", code="worker_not_found")


def _name(name: str) -> str:
    try:
        return storable(name)
    except ValueError:
        raise NotFound("There is no worker with this name.", code="worker_not_found") from None
