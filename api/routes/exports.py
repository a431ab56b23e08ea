"""Exports: images as a zip."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from api.dependencies import CallerDependency, FarmDependency
from api.exports import ExportShape, open_export
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.routes.jobs import query_text
from core.errors import InvalidInput
from core.ids import is_id
from core.imagefile import ImageFormat
from core.schemas.base import epoch_seconds
from core.storage.archive import Layout, MetadataKind
from core.storage.export import name_stem
from db.exports import ExportChoice
from db.search import words_of

router = APIRouter(prefix="/v1/exports", tags=["images"], route_class=LazyRoute)

_CONTENT = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}


@router.get(
    "",
    response_class=Response,
    summary="Images as a zip",
    responses=error_responses(404, 410) | {200: {"content": _CONTENT, "description": "The zip, streamed."}},
)
async def read_export(
    farm: FarmDependency,
    caller: CallerDependency,
    batch: Annotated[str | None, Query(max_length=36, description="Id of a batch: its images, in its order.")] = None,
    image: Annotated[list[str] | None, Query(description="Id of an image; repeat it for several.")] = None,
    job: Annotated[list[str] | None, Query(description="Id of a job; repeat it for several.")] = None,
    model: Annotated[str | None, Query(max_length=100)] = None,
    q: Annotated[str | None, Query(max_length=500, description="Words of the prompt, as for GET /v1/jobs.")] = None,
    mine: Annotated[bool, Query(description="Only jobs submitted under your own name.")] = False,
    since: Annotated[
        datetime | None, Query(description="Only jobs submitted at this time or later. Default zone: UTC.")
    ] = None,
    until: Annotated[datetime | None, Query(description="Only jobs submitted before this time.")] = None,
    min_rating: Annotated[int | None, Query(ge=1, le=5, description="Only images with so many stars or more.")] = None,
    format: Annotated[ImageFormat | None, Query(description="Default: as stored, which is PNG.")] = None,
    layout: Annotated[Layout, Query(description="`by-day`: a folder for each day.")] = "flat",
    metadata: Annotated[MetadataKind, Query(description="A file of metadata at the end of the zip.")] = "jsonl",
) -> Response:
    """Stream the images of a batch, of named images or jobs, or of all jobs that match the filters, oldest job first.

    Files have the names of `imagefarm export`. An image whose file is missing is in the metadata, with the reason.
    """
    choice = ExportChoice(
        owner=caller.owner if mine else caller.visible_owner,
        batch=_id("batch", batch),
        images=[_known("image", each) for each in dict.fromkeys(image or ())],
        jobs=[_known("job", each) for each in dict.fromkeys(job or ())],
        model=query_text("model", model),
        text=query_text("q", q) or "",
        since=epoch_seconds(since),
        until=epoch_seconds(until),
        min_rating=min_rating,
    )
    words_of(choice.text)
    pieces = await open_export(farm, caller, choice, ExportShape(format, layout, metadata))
    name = name_stem(datetime.now(UTC)).replace("outputs_", "imagefarm_")
    headers = {"Content-Disposition": f'attachment; filename="{name}.zip"', "Cache-Control": "no-store"}
    return StreamingResponse(pieces, media_type="application/zip", headers=headers)


def _id(field: str, value: str | None) -> str | None:
    return None if value is None else _known(field, value)


def _known(field: str, value: str) -> str:
    if not is_id(value):
        raise InvalidInput(f"'{value[:100]}' is not an id: send one that the farm returned.", field=field)
    return value
