"""Routes progress and interrupt, for the caller's own jobs only."""

from __future__ import annotations

import base64
import zlib
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from api.a1111.errors import errors
from api.a1111.render import TASK_KEY
from api.a1111.request import FACE, A1111Caller, A1111Submitter
from api.a1111.response import a1111_timestamp
from api.caller import Caller
from api.dependencies import FarmDependency, json_response
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.routes.job_events import media_type
from api.routes.jobs import cancel_all
from api.threads import in_thread
from api.views.jobs import progress_view
from core.lifecycle import SETTLED, JobStatus
from core.schemas.a1111 import ProgressAnswer, ProgressState, TaskProgress, TaskProgressRequest
from db.jobs.read import job_of_key, list_jobs
from db.statistics import count_open
from db.tables import Job

router = APIRouter(tags=["a1111"], route_class=LazyRoute)

_PAGE = 200


@router.get("/sdapi/v1/progress", response_model=ProgressAnswer, summary="Your running job", responses=errors())
async def read_progress(farm: FarmDependency, caller: A1111Caller, skip_current_image: bool = False) -> Response:
    """Report the newest running or else queued job; zeros when you have none."""
    job = next(iter([*await _newest(farm, caller, JobStatus.RUNNING), *await _newest(farm, caller, JobStatus.QUEUED)]), None)
    progress = await farm.watcher.progress_of(job.id) if job is not None else None
    image = None if job is None or skip_current_image else await farm.watcher.preview_of(job.id, 0)
    count = await in_thread(count_open, farm.database, caller.owner, FACE)
    return json_response(_progress(job, progress, count, image))


def _progress(job: Job | None, progress: dict[str, Any] | None, count: int, image: bytes | None) -> ProgressAnswer:
    shown = progress_view(job, progress) if job is not None else None
    state = ProgressState(
        interrupted=job is not None and job.cancel_requested_at is not None,
        job=job.id if job is not None else "",
        job_count=count,
        job_timestamp=a1111_timestamp(job.created_at) if job is not None else "0",
        sampling_step=shown.step if shown else 0,
        sampling_steps=shown.steps if shown else 0,
    )
    return ProgressAnswer(
        progress=shown.value if shown else 0.0,
        eta_relative=(shown.eta_seconds or 0.0) if shown else 0.0,
        state=state,
        current_image=base64.b64encode(image).decode() if image else None,
        textinfo="Waiting in the queue" if job is not None and job.status == JobStatus.QUEUED else None,
    )


@router.post("/sdapi/v1/interrupt", summary="Interrupt your running job of this face", responses=errors())
async def interrupt(farm: FarmDependency, caller: A1111Submitter) -> Response:
    """Cancel what is rendered for you now at its next step; its txt2img or img2img call returns what there is.

    Jobs that wait, jobs of the other faces and jobs of other owners are not touched.
    """
    before: str | None = None
    while page := await _newest(farm, caller, JobStatus.RUNNING, before, limit=_PAGE):
        await cancel_all(farm, [job.id for job in page], caller.acting_owner)
        before = page[-1].id
    return JSONResponse({})


@router.post("/sdapi/v1/skip", summary="Same as interrupt", responses=errors())
async def skip(farm: FarmDependency, caller: A1111Submitter) -> Response:
    """Interrupt: all images of a job are rendered together, so a single one cannot be skipped."""
    return await interrupt(farm, caller)


@router.post(
    "/internal/progress",
    response_model=TaskProgress,
    summary="Progress of a force_task_id",
    responses=errors(400, 408, 413, 415),
)
async def read_task(farm: FarmDependency, caller: A1111Caller, wanted: TaskProgressRequest) -> Response:
    """Report one job; an unknown task is neither active, queued nor completed."""
    job = await _job_of_task(farm, caller, wanted.id_task)
    progress = await farm.watcher.progress_of(job.id) if job is not None else None
    shown = progress_view(job, progress) if job is not None else None
    status = job.status if job is not None else None
    running = job is not None and status == JobStatus.RUNNING and wanted.live_preview
    image = await farm.watcher.preview_of(job.id, 0) if job is not None and running else None
    mark = zlib.crc32(image) if image is not None else -1
    fresh = image is not None and mark != wanted.id_live_preview
    return json_response(
        TaskProgress(
            active=status == JobStatus.RUNNING,
            queued=status == JobStatus.QUEUED,
            completed=status in SETTLED,
            progress=shown.value if shown else None,
            eta=shown.eta_seconds if shown else None,
            live_preview=_data_url(image) if image is not None and fresh else None,
            id_live_preview=mark,
            textinfo=None if job is None else f"{job.status}",
        )
    )


async def _job_of_task(farm: Farm, caller: Caller, task_id: str) -> Job | None:
    """Return the first open job of a task, perhaps one of a batch or of a second pass; else the one it was sent with."""
    for status in (JobStatus.RUNNING, JobStatus.QUEUED):
        for job in reversed(await _newest(farm, caller, status, limit=_PAGE)):
            if job.requested.get("metadata", {}).get("task_id") == task_id:
                return job
    return await in_thread(job_of_key, farm.database, caller.owner, TASK_KEY + task_id)


def _data_url(image: bytes) -> str:
    return f"data:{media_type(image)};base64,{base64.b64encode(image).decode()}"


async def _newest(farm: Farm, caller: Caller, status: JobStatus, before: str | None = None, limit: int = 1) -> list[Job]:
    """Return the caller's newest jobs of this face in a status, older than the job `before`."""
    return await in_thread(
        list_jobs,
        farm.database,
        owner=caller.owner,
        statuses=(status,),
        conditions=(Job.face == FACE,),
        before=before,
        limit=limit,
    )
