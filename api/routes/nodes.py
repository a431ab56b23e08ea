"""Machines: list, drain, resume, remove."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from api.dependencies import AdminDependency, CallerDependency, FarmDependency, json_response
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.routes.workers import worker_rows
from api.threads import in_thread
from core.errors import NotFound
from core.schemas.base import storable
from core.schemas.nodes import Node, NodeList, NodeRemoved
from core.schemas.workers import Worker
from db.nodes import drain_node, remove_node, resume_node

router = APIRouter(prefix="/v1/nodes", tags=["nodes"], route_class=LazyRoute)

NodeName = Annotated[str, Path(max_length=255, description="Name of the machine.", examples=["studio"])]
_SAME = {"paused": "drained", "draining": "drained", "lost": "lost", "stopped": "stopped", "failed": "stopped"}


@router.get("", response_model=NodeList, summary="List machines", responses=error_responses())
async def read_nodes(farm: FarmDependency, caller: CallerDependency) -> Response:
    """List the machines of all registered workers, live or not."""
    return json_response(NodeList.model_construct(items=await in_thread(_nodes, farm)))


@router.post("/{name}/drain", response_model=Node, summary="Drain a machine", responses=error_responses(404))
async def drain(farm: FarmDependency, admin: AdminDependency, name: NodeName) -> Response:
    """Let its workers finish their jobs and claim no others until the machine is resumed, also after restarts."""
    await in_thread(drain_node, farm.database, _checked(name))
    return await _answer(farm, name)


@router.post("/{name}/resume", response_model=Node, summary="Resume a machine", responses=error_responses(404))
async def resume(farm: FarmDependency, admin: AdminDependency, name: NodeName) -> Response:
    """Let its workers claim jobs again; this ends their quarantine, too."""
    await in_thread(resume_node, farm.database, _checked(name))
    return await _answer(farm, name)


@router.delete("/{name}", response_model=NodeRemoved, summary="Remove a machine", responses=error_responses(404))
async def remove(farm: FarmDependency, admin: AdminDependency, name: NodeName) -> Response:
    """Let its workers finish their jobs and stop; those that have ended leave the lists at once."""
    stopping, removed = await in_thread(remove_node, farm.database, _checked(name))
    return json_response(NodeRemoved(stopping=stopping, removed=removed))


async def _answer(farm: Farm, name: str) -> Response:
    for node in await in_thread(_nodes, farm):
        if node.name == name:
            return json_response(node)
    raise _unknown()


def _nodes(farm: Farm) -> list[Node]:
    rows = sorted(worker_rows(farm), key=lambda worker: (worker.host, worker.name))
    return [_node(name, list(group)) for name, group in groupby(rows, key=lambda worker: worker.host)]


def _node(name: str, workers: list[Worker]) -> Node:
    running = sum(worker.running for worker in workers)
    return Node(
        name=name,
        state=_state(workers, running),
        running=running,
        versions=sorted({worker.version for worker in workers if worker.version}),
        workers=workers,
    )


def _state(workers: list[Worker], running: int) -> str:
    states = {_SAME.get(worker.state, "up" if worker.state != "quarantined" else "quarantined") for worker in workers}
    if len(states) > 1:
        return "partly"
    state = states.pop()
    return ("busy" if running else "ready") if state == "up" else state


def _checked(name: str) -> str:
    try:
        return storable(name)
    except ValueError:
        raise _unknown() from None


def _unknown() -> NotFound:
    return NotFound("There is no machine with this name.", code="node_not_found")
