"""Batches: submit, read, list, cancel, contact sheet."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query
from starlette.responses import Response

from api.batches import accept_batch, contact_sheet_of, wait_until_all_settled
from api.dependencies import CallerDependency, FarmDependency, SubmitterDependency, json_response
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.public_address import link
from api.routes.jobs import cancel_all
from api.submission import idempotency_key
from api.threads import in_thread
from api.views.batches import axis_ratings, batch_view
from core.errors import InvalidInput, NotFound
from core.ids import is_id
from core.imagefile.grid_sheet import SheetFormat
from core.ratings import ratings_csv
from core.schemas.batches import Batch as BatchAnswer
from core.schemas.batches import BatchPage, BatchRequest
from db.batches import counts_of, get_batch, list_batches, members, open_members
from db.jobs.read import Snapshot, snapshots_of
from db.tables import Batch, BatchJob

router = APIRouter(prefix="/v1/batches", tags=["batches"], route_class=LazyRoute)


async def batch_id_of(batch_id: Annotated[str, Path(description="The batch's id.")]) -> str:
    """Return the id; raise NotFound without a query for text that cannot be an id."""
    if not is_id(batch_id):
        raise NotFound("There is no batch with this id.", code="batch_not_found")
    return batch_id


BatchId = Annotated[str, Depends(batch_id_of)]


@router.post(
    "",
    status_code=202,
    response_model=BatchAnswer,
    summary="Submit many jobs in one call",
    responses=error_responses(400, 408, 409, 413, 415, 429),
)
async def create_batch(
    farm: FarmDependency,
    caller: SubmitterDependency,
    request: BatchRequest,
    key_header: Annotated[str | None, Header(alias="Idempotency-Key", description="As for POST /v1/jobs.")] = None,
) -> Response:
    """Submit every combination of prompts, seeds and axes: all are accepted, or none."""
    key = idempotency_key(key_header, request.model_dump(mode="json", exclude_unset=True))
    submitted = await accept_batch(farm, caller, request, key)
    headers = {"Location": link(f"/v1/batches/{submitted.batch.id}")}
    headers |= {"Idempotent-Replayed": "true"} if submitted.replayed else {}
    return json_response(await in_thread(full_view, farm, submitted.batch), 202, headers)


@router.get("", response_model=BatchPage, summary="List batches, newest first", responses=error_responses())
async def read_batches(
    farm: FarmDependency,
    caller: CallerDependency,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the previous page.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """List batches without their jobs."""
    if cursor is not None and not is_id(cursor):
        raise InvalidInput("The cursor is malformed: pass next_cursor of the previous page.", field="cursor")
    rows = await in_thread(list_batches, farm.database, caller.visible_owner, cursor, limit + 1)
    counts = await in_thread(counts_of, farm.database, [row.id for row in rows[:limit]])
    items = [batch_view(row, counts[row.id]) for row in rows[:limit]]
    return json_response(BatchPage.model_construct(items=items, next_cursor=items[-1].id if len(rows) > limit else None))


@router.get("/{batch_id}", response_model=BatchAnswer, summary="A batch and its jobs", responses=error_responses(404))
async def read_batch(
    farm: FarmDependency,
    caller: CallerDependency,
    batch_id: BatchId,
    wait: Annotated[float, Query(ge=0, le=300, description="Seconds to wait until all its jobs have settled.")] = 0,
) -> Response:
    """Return the batch with its jobs, optionally once all have settled."""
    batch = await in_thread(get_batch, farm.database, batch_id, caller.visible_owner)
    await wait_until_all_settled(farm, batch_id, wait)
    return json_response(await in_thread(full_view, farm, batch))


@router.post("/{batch_id}/cancel", response_model=BatchAnswer, summary="Cancel a batch", responses=error_responses(404))
async def cancel_batch(farm: FarmDependency, caller: SubmitterDependency, batch_id: BatchId) -> Response:
    """Cancel all jobs of the batch that have not settled."""
    batch = await in_thread(get_batch, farm.database, batch_id, caller.acting_owner)
    await cancel_all(farm, await in_thread(open_members, farm.database, batch_id), caller.acting_owner)
    return json_response(await in_thread(full_view, farm, batch))


@router.get(
    "/{batch_id}/contact-sheet",
    response_class=Response,
    summary="All its images on one sheet",
    responses=error_responses(404)
    | {
        200: {
            "content": {f"image/{kind}": {"schema": {"type": "string", "format": "binary"}} for kind in ("png", "webp")},
            "description": "The sheet.",
        }
    },
)
async def read_contact_sheet(
    farm: FarmDependency,
    caller: CallerDependency,
    batch_id: BatchId,
    columns: Annotated[int, Query(ge=0, le=50, description="0: by the values of the axes, with labels.")] = 0,
    side: Annotated[int, Query(ge=64, le=512, description="Longest side of each image, in pixels.")] = 256,
    format: Annotated[SheetFormat, Query(description="png or webp.")] = "png",
) -> Response:
    """Draw the sheet at any time: an image that is not finished, or whose file is missing, is a labelled grey cell."""
    batch = await in_thread(get_batch, farm.database, batch_id, caller.visible_owner)
    async with farm.decoding:
        data = await contact_sheet_of(farm, batch, columns, side, format)
    return Response(data, media_type=f"image/{format}", headers={"Cache-Control": "no-cache"})


@router.get(
    "/{batch_id}/ratings.csv",
    response_class=Response,
    summary="Mean ratings by axis value, as CSV",
    responses=error_responses(404) | {200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "CSV."}},
)
async def read_ratings(farm: FarmDependency, caller: CallerDependency, batch_id: BatchId) -> Response:
    """Return a line for each value of each axis that varies: images, rated ones, mean."""
    batch = await in_thread(get_batch, farm.database, batch_id, caller.visible_owner)
    items = await in_thread(_items, farm, batch)
    headers = {"Content-Disposition": f'attachment; filename="ratings-{batch_id}.csv"', "Cache-Control": "no-cache"}
    return Response(ratings_csv(axis_ratings(items)), media_type="text/csv", headers=headers)


def full_view(farm: Farm, batch: Batch) -> BatchAnswer:
    """Return the batch with its jobs, and their counts by the same read: a later one would contradict them."""
    items = _items(farm, batch)
    return batch_view(batch, Counter(snapshot.job.status for _, snapshot in items), items)


def _items(farm: Farm, batch: Batch) -> list[tuple[BatchJob, Snapshot]]:
    rows = members(farm.database, batch.id)
    snapshots = snapshots_of(farm.database, [job for _, job in rows])
    return [(member, found) for (member, _), found in zip(rows, snapshots, strict=True)]
