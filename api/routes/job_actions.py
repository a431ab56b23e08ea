"""What can be done to a job: cancel, retry; and its history."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from api.answers import json_answer
from api.caller import Caller
from api.dependencies import CallerDependency, FarmDependency, JobId, SubmitterDependency
from api.documents import problems
from api.farm import Farm
from api.reading import show
from api.threads import in_thread
from api.views.history import history_answer
from core.lifecycle import JobStatus
from core.schemas.job import Job as JobAnswer
from core.schemas.job import JobHistory
from db.hints import take_window
from db.jobs.cancel import request_cancel
from db.jobs.read import attempts_of, events_of, get_job
from db.jobs.retry import retry
from db.retention import delete_job
from db.snapshots import snapshot_of
from db.tables import Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post("/{job_id}/cancel", response_model=JobAnswer, summary="Cancel a job", responses=problems(404, 410))
async def cancel_job(farm: FarmDependency, caller: SubmitterDependency, job_id: JobId) -> Response:
    """At once while it waits, at the next step while it runs; a job that has ended stays as it is."""
    job = await cancel(farm, caller, job_id)
    return json_answer(await show(farm, await in_thread(snapshot_of, farm.database, job)))


async def cancel(farm: Farm, caller: Caller, job_id: str) -> Job:
    """Cancels and tells the farm."""
    job = await in_thread(request_cancel, farm.database, job_id, caller.acting_owner)
    farm.watcher.hub.changed(job.id, job.revision, job.status)
    farm.publisher.changed(job)
    if job.status == JobStatus.RUNNING:
        farm.publisher.cancel_requested(job)
    return job


@router.post(
    "/{job_id}/retry",
    status_code=202,
    response_model=JobAnswer,
    summary="Try a job again",
    responses=problems(404, 409, 410, 429),
)
async def retry_job(farm: FarmDependency, caller: SubmitterDependency, job_id: JobId) -> Response:
    """A held job is queued again; of any other job that has ended a new one is made (`retried_from`)."""
    limit = farm.settings.max_queued_per_owner
    job = await in_thread(retry, farm.database, job_id, caller.acting_owner, max_queued=limit)
    farm.publisher.changed(job)
    window = (await farm.overview.get()).window(job.model)
    for waiting in await in_thread(take_window, farm.database, job.model, window):
        farm.publisher.hint(waiting)
    answer = await show(farm, await in_thread(snapshot_of, farm.database, job))
    return json_answer(answer, 202, {"Location": answer.urls.self})


@router.delete("/{job_id}", status_code=204, summary="Delete a job", responses=problems(404, 409, 410))
async def remove_job(farm: FarmDependency, caller: SubmitterDependency, job_id: JobId) -> Response:
    """With its images and their files, once it has ended; its ids answer 410 from then on."""
    deleted = await in_thread(delete_job, farm.database, job_id, caller.acting_owner)
    for key in deleted.keys:
        await in_thread(farm.store.delete, key)
    return Response(status_code=204)


@router.get("/{job_id}/history", response_model=JobHistory, summary="What happened to a job", responses=problems(404, 410))
async def read_history(farm: FarmDependency, caller: CallerDependency, job_id: JobId) -> Response:
    """Every change of its status and every attempt, oldest first."""
    await in_thread(get_job, farm.database, job_id, caller.visible_owner)
    events = await in_thread(events_of, farm.database, job_id)
    attempts = await in_thread(attempts_of, farm.database, job_id)
    return json_answer(history_answer(events, attempts))
