"""Jobs: submit, read, list, cancel, retry, delete, history."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from api.caller import Caller
from api.dependencies import (
    CallerDependency,
    FarmDependency,
    JobId,
    SubmitterDependency,
    farm_of,
    get_reader,
    get_submitter,
    job_id_of,
    json_response,
    none_match,
)
from api.direct_route import DirectRoute, directly, json_of
from api.farm import Farm
from api.openapi_errors import error_responses
from api.polling import etag_of, revision_in, show, wait_until_settled
from api.public_address import link
from api.submission import idempotency_key, retry_job, submit_job
from api.threads import in_thread
from api.views.jobs import history_view, job_view
from core.errors import Conflict, InvalidInput
from core.ids import is_id
from core.json_text import dump_json
from core.lifecycle import SETTLED, JobKind, JobStatus
from core.schemas.base import storable
from core.schemas.jobs import Job as JobAnswer
from core.schemas.jobs import JobHistory, JobPage, JobRequest
from db.jobs.cancel import request_cancel, request_cancels
from db.jobs.read import Snapshot, attempts_of, events_of, get_job, snapshot_of, snapshots_of
from db.jobs.submit import Submitted
from db.retention import delete_job
from db.search import search_jobs
from db.tables import Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=DirectRoute)


async def _create_directly(request: Request) -> Response | None:
    """Answer a submit like `create_job`."""
    try:
        body = JobRequest.model_validate(await json_of(request))
    except ValidationError:
        return None
    headers = request.headers
    caller = await get_submitter(request, headers.get("x-client-label"))
    return await create_job(farm_of(request), caller, body, headers.get("idempotency-key"), headers.get("prefer"))


async def _read_directly(request: Request) -> Response | None:
    """Answer a poll like `read_job`; one that waits is left to FastAPI."""
    if request.scope["query_string"]:
        return None
    headers = request.headers
    caller = await get_reader(request, headers.get("x-client-label"))
    job_id = await job_id_of(request.path_params["job_id"])
    return await read_job(farm_of(request), caller, job_id, 0, headers.get("if-none-match"))


MAX_WAIT_SECONDS = 300.0
CANCELED_TOGETHER = 100
"""Jobs that one transaction cancels."""
_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])")
_ABOUT_Q = (
    'Words of the prompt, all of them, in any order; "quoted phrases" match as a whole; case is ignored. '
    "One call searches a part of the jobs: a page may have few items or none and still have a `next_cursor`."
)
_REPLAYED: Mapping[str, str] = MappingProxyType({"Idempotent-Replayed": "true"})


@router.post(
    "",
    status_code=202,
    response_model=JobAnswer,
    summary="Submit a job",
    responses=error_responses(400, 408, 409, 413, 415, 429)
    | {200: {"model": JobAnswer, "description": "The job ended within `Prefer: wait`."}},
)
@directly(_create_directly)
async def create_job(
    farm: FarmDependency,
    caller: SubmitterDependency,
    request: JobRequest,
    idempotency_key_header: Annotated[
        str | None,
        Header(alias="Idempotency-Key", description="The same key and body return the same job instead of a second one."),
    ] = None,
    prefer: Annotated[
        str | None, Header(description="`wait=30`: answer when the job has ended, after at most 30 s.")
    ] = None,
) -> Response:
    """Answer 202 once the job is committed; `Location` is where to follow it."""
    key = idempotency_key(idempotency_key_header, request.as_sent())
    return await respond_to_submit(farm, await submit_job(farm, caller, request, key), prefer)


async def respond_to_submit(farm: Farm, submitted: Submitted, prefer: str | None) -> Response:
    """Return the 202, or with `Prefer: wait=N` the 200 of a job that ended within N seconds."""
    if (seconds := wait_in(prefer)) > 0:
        snapshot = await wait_until_settled(farm, submitted.job.id, None, seconds)
        if snapshot.job.status in SETTLED:
            return _ended(await show(farm, snapshot))
    return _accepted(submitted)


def wait_in(prefer: str | None) -> float:
    """Return the seconds of a `Prefer: wait=N` header (RFC 7240); 0 without one."""
    match = _WAIT.search(prefer or "")
    return min(float(match[1]), MAX_WAIT_SECONDS) if match else 0.0


def _accepted(submitted: Submitted) -> Response:
    headers = {"Location": link(f"/v1/jobs/{submitted.job.id}")} | (dict(_REPLAYED) if submitted.replayed else {})
    if submitted.answer is None:
        return json_response(job_view(Snapshot(submitted.job)), 202, headers)
    return Response(dump_json(submitted.answer), 202, headers=headers, media_type="application/json")


def _ended(answer: JobAnswer) -> Response:
    if answer.status is JobStatus.SUCCEEDED:
        return json_response(answer, headers={"Location": answer.urls.self, "ETag": etag_of(answer)})
    reason = answer.error.message if answer.error else "no reason was reported."
    raise Conflict(f"Job {answer.id} is {answer.status}: {reason} See {answer.urls.self}.", code=f"job_{answer.status}")


@router.get(
    "/{job_id}",
    response_model=JobAnswer,
    summary="Read a job",
    responses=error_responses(404, 410) | {304: {"description": "Not modified."}},
)
@directly(_read_directly)
async def read_job(
    farm: FarmDependency,
    caller: CallerDependency,
    job_id: JobId,
    wait: Annotated[
        float,
        Query(ge=0, le=MAX_WAIT_SECONDS, description="Seconds to wait for its end, or with If-None-Match for a change."),
    ] = 0,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Return the present job, or wait for its end or next change."""
    known = revision_in(if_none_match) if if_none_match else None
    snapshot = await wait_until_settled(farm, job_id, caller.visible_owner, wait, after_revision=known)
    answer = await show(farm, snapshot)
    tag = etag_of(answer)
    if none_match(if_none_match, tag):
        return Response(status_code=304, headers={"ETag": tag, "Cache-Control": "no-cache"})
    return json_response(answer, headers={"ETag": tag})


@router.get("", response_model=JobPage, summary="List jobs, newest first", responses=error_responses())
async def read_jobs(
    farm: FarmDependency,
    caller: CallerDependency,
    status: Annotated[list[JobStatus] | None, Query(description="Repeat it for several.")] = None,
    model: Annotated[str | None, Query(max_length=100)] = None,
    kind: Annotated[JobKind | None, Query(description="What the job does.")] = None,
    q: Annotated[str | None, Query(max_length=500, description=_ABOUT_Q)] = None,
    mine: Annotated[bool, Query(description="Only jobs submitted under your own name.")] = False,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the previous page.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """List jobs that match all filters. Pages follow by cursor, so new jobs do not shift them; the last page has none."""
    if cursor is not None and not is_id(cursor):
        raise InvalidInput("The cursor is malformed: pass next_cursor of the previous page.", field="cursor")
    found = await in_thread(
        search_jobs,
        farm.database,
        query_text("q", q) or "",
        owner=caller.owner if mine else caller.visible_owner,
        statuses=status or (),
        model=query_text("model", model),
        kind=kind,
        before=cursor,
        limit=limit + 1,
    )
    page = await in_thread(snapshots_of, farm.database, found.jobs[:limit])
    items = [job_view(snapshot) for snapshot in page]
    more = items[-1].id if len(found.jobs) > limit else found.next_before
    return json_response(JobPage.model_construct(items=items, next_cursor=more))


def query_text(name: str, value: str | None) -> str | None:
    """Return a query's text; raise InvalidInput when the database cannot store it."""
    try:
        return None if value is None else storable(value)
    except ValueError as error:
        raise InvalidInput(f"{name} {error}.", field=name) from None


@router.post("/{job_id}/cancel", response_model=JobAnswer, summary="Cancel a job", responses=error_responses(404, 410))
async def cancel_job(farm: FarmDependency, caller: SubmitterDependency, job_id: JobId) -> Response:
    """Cancel a queued job at once, a running one at its next step; a job that has ended is not changed."""
    job = await cancel(farm, caller, job_id)
    return json_response(await show(farm, await in_thread(snapshot_of, farm.database, job)))


async def cancel(farm: Farm, caller: Caller, job_id: str) -> Job:
    """Request the cancel and publish it."""
    job = await in_thread(request_cancel, farm.database, job_id, caller.acting_owner)
    _tell(farm, job)
    return job


async def cancel_all(farm: Farm, job_ids: Sequence[str], owner: str | None) -> None:
    """Cancel these jobs of an owner, None for any, skipping those that are deleted in the meantime."""
    for start in range(0, len(job_ids), CANCELED_TOGETHER):
        together = job_ids[start : start + CANCELED_TOGETHER]
        for job in await in_thread(request_cancels, farm.database, together, owner):
            _tell(farm, job)


def _tell(farm: Farm, job: Job) -> None:
    """Publish a cancel, to the worker of a running job too."""
    farm.job_changed(job)
    if job.status == JobStatus.RUNNING:
        farm.publisher.cancel_requested(job)


@router.post(
    "/{job_id}/retry",
    status_code=202,
    response_model=JobAnswer,
    summary="Try a job again",
    responses=error_responses(404, 409, 410, 429),
)
async def retry(farm: FarmDependency, caller: SubmitterDependency, job_id: JobId) -> Response:
    """Queue a held job again; for any other job that has ended, submit a copy (`retried_from`). Counts like a submit."""
    job = await retry_job(farm, caller, job_id)
    answer = await show(farm, await in_thread(snapshot_of, farm.database, job))
    return json_response(answer, 202, {"Location": answer.urls.self})


@router.delete("/{job_id}", status_code=204, summary="Delete a job", responses=error_responses(404, 409, 410))
async def remove_job(farm: FarmDependency, caller: SubmitterDependency, job_id: JobId) -> Response:
    """Delete an ended job with its images and their files; their ids answer 410 from then on."""
    deleted = await in_thread(delete_job, farm.database, job_id, caller.acting_owner)
    for key in deleted.keys:
        await in_thread(farm.store.delete, key)
    return Response(status_code=204)


@router.get("/{job_id}/history", response_model=JobHistory, summary="A job's history", responses=error_responses(404, 410))
async def read_history(farm: FarmDependency, caller: CallerDependency, job_id: JobId) -> Response:
    """Return every status change and every attempt, oldest first."""
    await in_thread(get_job, farm.database, job_id, caller.visible_owner)
    events = await in_thread(events_of, farm.database, job_id)
    attempts = await in_thread(attempts_of, farm.database, job_id)
    return json_response(history_view(events, attempts))
