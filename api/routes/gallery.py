"""Gallery: images by position, with filters."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dependencies import CallerDependency, FarmDependency, json_response
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.routes.jobs import query_text
from api.threads import in_thread
from core.errors import InvalidInput
from core.ids import is_id
from core.lifecycle import JobKind
from core.schemas.base import epoch_seconds, iso
from core.schemas.gallery import Gallery, GalleryImage
from db.gallery import MAX_ROWS, GalleryChoice, GalleryRow, count_gallery, read_gallery

router = APIRouter(prefix="/v1/images", tags=["images"], route_class=LazyRoute)


@router.get("", response_model=Gallery, summary="List images, newest first", responses=error_responses())
async def read_images(
    farm: FarmDependency,
    caller: CallerDependency,
    q: Annotated[str | None, Query(max_length=500, description="Words of the prompt, as for GET /v1/jobs.")] = None,
    model: Annotated[str | None, Query(max_length=100)] = None,
    min_rating: Annotated[int | None, Query(ge=1, le=5)] = None,
    batch: Annotated[str | None, Query(description="Only images of this batch.")] = None,
    lora: Annotated[str | None, Query(max_length=200, description="Only images with this LoRA.")] = None,
    collection: Annotated[str | None, Query(description="Only images of this collection.")] = None,
    owner: Annotated[str | None, Query(max_length=120, description="Only images of this owner.")] = None,
    since: Annotated[datetime | None, Query(description="Rendered at this time or later; UTC without a zone.")] = None,
    until: Annotated[datetime | None, Query(description="Rendered before this time.")] = None,
    anchor: Annotated[str | None, Query(description="The newest image to list.")] = None,
    offset: Annotated[int, Query(ge=0, le=MAX_ROWS)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    count: Annotated[bool, Query(description="Count all that match, too.")] = False,
) -> Response:
    """List images that match all filters by position, for a grid that shows any part of a long list at once."""
    if caller.visible_owner is not None and owner not in (None, caller.owner):
        owner = ""  # another owner's images are not visible
    choice = GalleryChoice(
        owner=caller.visible_owner if owner is None else query_text("owner", owner),
        text=query_text("q", q) or "",
        model=query_text("model", model),
        min_rating=min_rating,
        batch=_id("batch", batch),
        lora=query_text("lora", lora),
        collection=_id("collection", collection),
        since=epoch_seconds(since),
        until=epoch_seconds(until),
        anchor=_id("anchor", anchor),
    )
    rows = await in_thread(read_gallery, farm.database, choice, offset, limit)
    total = None
    if count:
        is_last = len(rows) < limit and (bool(rows) or offset == 0)  # What matches rarely is searched once, not twice.
        seen = min(offset + len(rows), MAX_ROWS)
        total = seen if is_last else await in_thread(count_gallery, farm.database, choice)
    first = rows[0].id if rows and offset == 0 else None
    return json_response(
        Gallery.model_construct(items=[_view(row) for row in rows], offset=offset, total=total, anchor=anchor or first)
    )


def _view(row: GalleryRow) -> GalleryImage:
    return GalleryImage.model_construct(**{**vars(row), "kind": JobKind(row.kind), "created_at": iso(row.created_at)})


def _id(field: str, value: str | None) -> str | None:
    if value is not None and not is_id(value):
        raise InvalidInput(f"'{value[:100]}' is not an id: send one that the farm returned.", field=field)
    return value
