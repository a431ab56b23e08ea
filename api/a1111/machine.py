"""Routes about the process and its memory: ping, memory, unload and reload of the checkpoint, refreshes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from api.a1111.errors import errors
from api.a1111.request import A1111Submitter
from api.caller import Caller
from api.dependencies import CallerDependency, FarmDependency
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.model_loading import ask_workers
from api.overview import read_overview
from api.threads import in_thread
from core.api_keys import Scope
from core.schemas.a1111 import MemoryAnswer
from db.worker_models import Request
from db.workers import running_counts

router = APIRouter(tags=["a1111"], route_class=LazyRoute)

_REFRESHED: Mapping[str, str] = MappingProxyType(
    {
        "checkpoints": "models",
        "loras": "LoRAs",
        "vae": "VAEs: a model brings its own",
        "embeddings": "embeddings: there are none",
    }
)


@router.get("/internal/ping", summary="This process responds", responses=errors())
async def ping(caller: CallerDependency) -> Response:
    """Answer an empty object."""
    return JSONResponse({})


@router.get("/sdapi/v1/memory", response_model=MemoryAnswer, summary="Memory of the API's machine", responses=errors())
async def read_memory(caller: CallerDependency) -> Response:
    """Return free and total memory in bytes. GPUs belong to workers, which may be on other machines."""
    page = os.sysconf("SC_PAGE_SIZE")
    total, free = page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    answer = MemoryAnswer(
        ram={"free": free, "used": total - free, "total": total},
        cuda={"error": "The API uses no GPU; GET /v1/workers shows the workers' devices."},
    )
    return JSONResponse(answer.model_dump())


@router.post("/sdapi/v1/unload-checkpoint", summary="Free the memory of your model", responses=errors(409))
async def unload_checkpoint(farm: FarmDependency, caller: A1111Submitter) -> Response:
    """Ask the workers that hold your model to free its memory; the next job loads it again. Needs the scope admin."""
    return await _ask(farm, caller, "unload")


@router.post("/sdapi/v1/reload-checkpoint", summary="Load your model", responses=errors(409))
async def reload_checkpoint(farm: FarmDependency, caller: A1111Submitter) -> Response:
    """Ask a worker to load your model. Needs the scope admin."""
    return await _ask(farm, caller, "load")


async def _ask(farm: Farm, caller: Caller, request: Request) -> Response:
    caller.require(Scope.ADMIN)
    overview = await farm.overview.get()
    chosen = farm.checkpoints.get(caller.owner)
    model = farm.catalogue.get(chosen).id if chosen else farm.model_selector.default(overview).id

    def ask() -> None:
        ask_workers(farm.database, read_overview(farm.database), running_counts(farm.database), model, request, None)

    await in_thread(ask)
    return JSONResponse({})


def _add_refresh(name: str, what: str) -> None:
    async def refresh(caller: CallerDependency) -> Response:
        return JSONResponse(None)

    router.add_api_route(
        f"/sdapi/v1/refresh-{name}",
        refresh,
        methods=["POST"],
        name=f"refresh_{name}",
        summary="Nothing to refresh",
        description=f"Do nothing: the list is always current ({what}).",
        responses=errors(),
    )


def _add_refreshes() -> None:
    for name, what in _REFRESHED.items():
        _add_refresh(name, what)


_add_refreshes()
