"""Submit and wait: for the faces whose callers expect the picture in the answer."""

from __future__ import annotations

from api.caller import Caller
from api.farm import Farm
from api.reading import wait_until_settled
from api.submission import IdempotencyKey, submit_job
from core.errors import Conflict, FarmError, InvalidInput, RenderError
from core.lifecycle import SETTLED, JobStatus
from core.schemas.job_request import JobRequest
from db.snapshots import Snapshot
from db.tables import Job


class StillRunning(FarmError):
    """The picture took longer than the caller may be kept waiting; the job goes on."""

    code = "still_running"

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(
            f"Job {job.id} is {job.status} and goes on. Poll GET /v1/jobs/{job.id}?wait=60 for its end; "
            "do not send it again."
        )


async def render_now(farm: Farm, caller: Caller, request: JobRequest, key: IdempotencyKey | None = None) -> Snapshot:
    """The succeeded job with its images; StillRunning, or an error that says how the job ended instead."""
    submitted = await submit_job(farm, caller, request, key)
    snapshot = await wait_until_settled(farm, submitted.job.id, None, farm.settings.sync_wait_seconds)
    if snapshot.job.status not in SETTLED:
        raise StillRunning(snapshot.job)
    if snapshot.job.status != JobStatus.SUCCEEDED:
        raise ended_badly(snapshot.job)
    return snapshot


def ended_badly(job: Job) -> FarmError:
    """The error that a job ended with, as one that an answer can carry."""
    message = f"Job {job.id} is {job.status}: {job.error_message or 'it was asked to stop'}"
    if job.status in (JobStatus.CANCELED, JobStatus.EXPIRED):
        return Conflict(message, code=f"job_{job.status}")
    if job.error_code == "invalid_input":
        return InvalidInput(message)
    return RenderError(message, code=job.error_code)
