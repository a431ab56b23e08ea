"""Following a job: its events as a stream, its latest preview."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.responses import Response, StreamingResponse

from api.dependencies import CallerDependency, FarmDependency, JobId
from api.documents import problems
from api.events import END_SUFFIX, JobStream, media_type
from api.threads import in_thread
from core.errors import NotFound
from db.jobs.read import get_job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_ABOUT_EVENTS = """\
`status` (a row of the job's history; `id` is the revision), `progress`, `preview` (base64), `output` (one a finished
image), `end` (the whole job; the stream closes). Send `Last-Event-ID` to go on where a broken stream stopped: no status is
missed. After `end` the answer is 204, which has browsers stop."""


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    summary="Follow a job (server-sent events)",
    description=_ABOUT_EVENTS,
    responses=problems(404, 410)
    | {
        200: {"content": {"text/event-stream": {}}, "description": "The events."},
        204: {"description": "You have heard the end."},
    },
)
async def read_events(
    farm: FarmDependency,
    caller: CallerDependency,
    job_id: JobId,
    previews: Annotated[bool, Query(description="Send previews of unfinished images too.")] = False,
    last_event_id: Annotated[str | None, Header(description="Id of the last event that you have.")] = None,
) -> Response:
    """Any number may listen."""
    job = await in_thread(get_job, farm.database, job_id, caller.visible_owner)
    known = last_event_id or ""
    if known == f"{job.revision}{END_SUFFIX}":
        return Response(status_code=204)
    stream = JobStream(farm, job_id, int(known) if known.isascii() and known.isdigit() else 0, previews)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_subscribed(stream), media_type="text/event-stream", headers=headers)


async def _subscribed(stream: JobStream) -> AsyncIterator[bytes]:
    with stream.farm.watcher.hub.subscribe(stream.job_id) as subscription:
        async for chunk in stream.events(subscription):
            yield chunk


@router.get(
    "/{job_id}/preview",
    response_class=Response,
    summary="The latest preview of an unfinished image",
    responses=problems(404, 410)
    | {200: {"content": {"image/jpeg": {}, "image/png": {}}, "description": "A small picture."}},
)
async def read_preview(
    farm: FarmDependency,
    caller: CallerDependency,
    job_id: JobId,
    index: Annotated[int, Query(ge=0, le=999, description="Which image of the job.")] = 0,
) -> Response:
    """Previews are kept for some minutes only."""
    await in_thread(get_job, farm.database, job_id, caller.visible_owner)
    image = await farm.watcher.preview_of(job_id, index)
    if image is None:
        raise NotFound("There is no preview of this image now.", code="no_preview")
    return Response(image, media_type=media_type(image), headers={"Cache-Control": "no-store"})
