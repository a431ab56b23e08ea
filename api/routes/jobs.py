"""Jobs: submit, read, list."""

from __future__ import annotations

import json
import re
from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from api.answers import json_answer
from api.dependencies import CallerDependency, FarmDependency, JobId, SubmitterDependency
from api.documents import problems
from api.reading import etag_of, revision_in, show, wait_until_settled
from api.submission import idempotency_key, submit_job
from api.threads import in_thread
from api.views.jobs import job_answer
from core.errors import Conflict, InvalidInput
from core.ids import is_id
from core.lifecycle import SETTLED, JobStatus
from core.schemas.base import storable
from core.schemas.job import Job as JobAnswer
from core.schemas.job import JobPage
from core.schemas.job_request import JobRequest
from db.jobs.submit import Submitted
from db.search import search_jobs
from db.snapshots import Snapshot, snapshots_of

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

MAX_WAIT_SECONDS = 300.0
_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])")
_ABOUT_Q = (
    'Words of the prompt, all of them, in any order; "quoted phrases" whole; upper and lower case are the same. '
    "One call looks through a part of the jobs: a page may hold few or none and still have a `next_cursor`."
)
_REPLAYED = {"Idempotent-Replayed": "true"}


@router.post(
    "",
    status_code=202,
    response_model=JobAnswer,
    summary="Submit a job",
    responses=problems(400, 408, 409, 413, 415, 429)
    | {200: {"model": JobAnswer, "description": "It ended within `Prefer: wait`."}},
)
async def create_job(
    farm: FarmDependency,
    caller: SubmitterDependency,
    request: JobRequest,
    idempotency_key_header: Annotated[
        str | None, Header(alias="Idempotency-Key", description="The same key and body give the same job, once.")
    ] = None,
    prefer: Annotated[str | None, Header(description="`wait=30`: answer when it has ended, in 30 s at most.")] = None,
) -> Response:
    """202 once the job is safe in the database; `Location` says where to follow it."""
    key = idempotency_key(idempotency_key_header, request.as_sent())
    submitted = await submit_job(farm, caller, request, key)
    if (seconds := wait_in(prefer)) > 0:
        snapshot = await wait_until_settled(farm, submitted.job.id, None, seconds)
        if snapshot.job.status in SETTLED:
            return _ended(await show(farm, snapshot))
    return _accepted(submitted)


def wait_in(prefer: str | None) -> float:
    """Seconds of a `Prefer: wait=N` header (RFC 7240); 0 without one."""
    match = _WAIT.search(prefer or "")
    return min(float(match[1]), MAX_WAIT_SECONDS) if match else 0.0


def _accepted(submitted: Submitted) -> Response:
    headers = {"Location": f"/v1/jobs/{submitted.job.id}"} | (_REPLAYED if submitted.replayed else {})
    if submitted.answer is None:
        return json_answer(job_answer(Snapshot(submitted.job)), 202, headers)
    return Response(json.dumps(submitted.answer), 202, headers=headers, media_type="application/json")


def _ended(answer: JobAnswer) -> Response:
    if answer.status is JobStatus.SUCCEEDED:
        return json_answer(answer, headers={"Location": answer.urls.self, "ETag": etag_of(answer)})
    why = answer.error.message if answer.error else "nobody said why"
    raise Conflict(f"Job {answer.id} is {answer.status}: {why} See {answer.urls.self}.", code=f"job_{answer.status}")


@router.get(
    "/{job_id}",
    response_model=JobAnswer,
    summary="Read a job",
    responses=problems(404, 410) | {304: {"description": "As you have it."}},
)
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
    """The job as it is now, or once there is something new to say."""
    known = revision_in(if_none_match) if if_none_match else None
    snapshot = await wait_until_settled(farm, job_id, caller.visible_owner, wait, after_revision=known)
    answer = await show(farm, snapshot)
    tag = etag_of(answer)
    if if_none_match is not None and tag in (part.strip() for part in if_none_match.split(",")):
        return Response(status_code=304, headers={"ETag": tag, "Cache-Control": "no-cache"})
    return json_answer(answer, headers={"ETag": tag})


@router.get("", response_model=JobPage, summary="List jobs, newest first", responses=problems())
async def read_jobs(
    farm: FarmDependency,
    caller: CallerDependency,
    status: Annotated[list[JobStatus] | None, Query(description="Repeat it for several.")] = None,
    model: Annotated[str | None, Query(max_length=100)] = None,
    q: Annotated[str | None, Query(max_length=500, description=_ABOUT_Q)] = None,
    mine: Annotated[bool, Query(description="Only jobs submitted under your own name.")] = False,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Filters narrow; pages follow by cursor, so that new jobs do not shift them. The last page has no cursor."""
    if cursor is not None and not is_id(cursor):
        raise InvalidInput("The cursor is not one of ours: pass next_cursor of the page before.", field="cursor")
    found = await in_thread(
        search_jobs,
        farm.database,
        query_text("q", q) or "",
        owner=caller.owner if mine else caller.visible_owner,
        statuses=status or (),
        model=query_text("model", model),
        before=cursor,
        limit=limit + 1,
    )
    page = await in_thread(snapshots_of, farm.database, found.jobs[:limit])
    items = [job_answer(snapshot) for snapshot in page]
    more = items[-1].id if len(found.jobs) > limit else found.rest
    return json_answer(JobPage.model_construct(items=items, next_cursor=more))


def query_text(name: str, value: str | None) -> str | None:
    """A query's text, if the database can take it."""
    try:
        return None if value is None else storable(value)
    except ValueError as error:
        raise InvalidInput(f"{name} {error}.", field=name) from None
