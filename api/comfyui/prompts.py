"""Routes of prompts: submit, queue, history, interrupt."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ValidationError
from starlette.responses import JSONResponse, Response

from api.comfyui.errors import errors
from api.comfyui.face import ComfyCaller, ComfySubmitter, FaceDependency, json_object
from api.comfyui.messages import history_entry, queue_entry
from api.dependencies import json_response
from api.lazy_route import LazyRoute
from api.threads import in_thread
from api.validation import from_pydantic
from core.schemas.comfyui import (
    ComfyInterrupt,
    ComfyPromptAnswer,
    ComfyPromptRequest,
    ComfyQueue,
    ComfyQueueChange,
    ComfyQueueInfo,
)
from db.comfyui import MAX_PAGE, PAGE, count_open, ended_prompt, forget_ended, history_of, queue_of

Model = TypeVar("Model", bound=BaseModel)

router = APIRouter(tags=["comfyui"], route_class=LazyRoute)

_BODY_ERRORS = errors(400, 408, 413)


def _body(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """Return `openapi_extra=` of a JSON body that is read whatever its content type is."""
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": model.model_json_schema()}}}}


@router.post(
    "/prompt",
    response_model=ComfyPromptAnswer,
    summary="Queue a graph (ComfyUI's shape)",
    responses=errors(400, 408, 409, 410, 413, 429),
    openapi_extra=_body(ComfyPromptRequest),
)
async def submit_prompt(request: Request, face: FaceDependency, caller: ComfySubmitter) -> Response:
    """Queue the jobs of a graph of standard nodes. `node_errors` names nodes and links that the farm cannot run."""
    return json_response(await face.submit(caller, await request.body()))


@router.get("/prompt", response_model=ComfyQueueInfo, summary="How many prompts have not ended", responses=errors())
async def read_queue_info(face: FaceDependency, caller: ComfyCaller) -> Response:
    """Count your own prompts that have not ended."""
    count = (await in_thread(count_open, face.farm.database, [caller.owner]))[caller.owner]
    return JSONResponse({"exec_info": {"queue_remaining": count}})


@router.get("/queue", response_model=ComfyQueue, summary="Your prompts that have not ended", responses=errors())
async def read_queue(face: FaceDependency, caller: ComfyCaller) -> Response:
    """List your own prompts: those of which a job runs or has run, and those that wait."""
    found = await in_thread(queue_of, face.farm.database, caller.owner)
    rows = {
        "queue_running": [queue_entry(each.row) for each in found if each.is_running],
        "queue_pending": [queue_entry(each.row) for each in found if not each.is_running],
    }
    return await in_thread(JSONResponse, rows)


@router.post(
    "/queue",
    response_class=Response,
    summary="Remove waiting prompts",
    responses=_BODY_ERRORS,
    openapi_extra=_body(ComfyQueueChange),
)
async def change_queue(request: Request, face: FaceDependency, caller: ComfySubmitter) -> Response:
    """Remove your own prompts of which no job has run: all (`clear`), or those that `delete` lists."""
    change = await _parsed(request, ComfyQueueChange)
    wanted = None if change.clear else (change.delete or [])
    found = await in_thread(queue_of, face.farm.database, caller.owner, wanted)
    await face.runner.cancel([each.row for each in found if not each.is_running], forget=True)
    return Response(status_code=200)


@router.post(
    "/interrupt",
    response_class=Response,
    summary="Interrupt what runs",
    responses=_BODY_ERRORS,
    openapi_extra=_body(ComfyInterrupt, required=False),
)
async def interrupt(request: Request, face: FaceDependency, caller: ComfySubmitter) -> Response:
    """Cancel your own prompts of which a job runs or has run; those that wait stay. With `prompt_id`, only that one."""
    wanted = await _parsed(request, ComfyInterrupt)
    ids = [wanted.prompt_id] if wanted.prompt_id is not None else None
    found = await in_thread(queue_of, face.farm.database, caller.owner, ids)
    await face.runner.cancel([each.row for each in found if each.is_running])
    return Response(status_code=200)


@router.get("/history", summary="Your prompts that have ended", responses=errors())
async def read_history(
    face: FaceDependency,
    caller: ComfyCaller,
    max_items: Annotated[int, Query(ge=1, le=MAX_PAGE, description="The latest ones, or those from `offset` on.")] = PAGE,
    offset: Annotated[
        int, Query(ge=-1, le=2**31, description="How many of the oldest to leave out; -1 for the latest.")
    ] = -1,
) -> dict[str, Any]:
    """Return prompt_id -> `prompt`, `outputs`, `status` and `meta`, the oldest first."""
    rows = await in_thread(history_of, face.farm.database, caller.owner, max_items, offset if offset >= 0 else None)
    return {row.prompt_id: history_entry(row) for row in rows}


@router.get("/history/{prompt_id}", summary="One prompt that has ended", responses=errors())
async def read_ended(face: FaceDependency, caller: ComfyCaller, prompt_id: str) -> dict[str, Any]:
    """Return the prompt under its id; an empty object while it has not ended."""
    is_possible = len(prompt_id) <= 100 and prompt_id.isprintable()
    row = await in_thread(ended_prompt, face.farm.database, caller.owner, prompt_id) if is_possible else None
    return {} if row is None else {row.prompt_id: history_entry(row)}


@router.post(
    "/history",
    response_class=Response,
    summary="Forget ended prompts",
    responses=_BODY_ERRORS,
    openapi_extra=_body(ComfyQueueChange),
)
async def change_history(request: Request, face: FaceDependency, caller: ComfySubmitter) -> Response:
    """Remove your own prompts from the history: all (`clear`), or those that `delete` lists. Their images stay."""
    change = await _parsed(request, ComfyQueueChange)
    if change.clear or change.delete:
        await in_thread(forget_ended, face.farm.database, caller.owner, None if change.clear else change.delete)
    return Response(status_code=200)


async def _parsed(request: Request, model: type[Model]) -> Model:
    body = await request.body()
    try:
        return model.model_validate(json_object(body) if body.strip() else {})
    except ValidationError as error:
        raise from_pydantic(error) from None
