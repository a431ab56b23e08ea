"""Images: metadata and files."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

from api.answers import json_answer
from api.dependencies import CallerDependency, FarmDependency, ImageId
from api.documents import problems
from api.views.images import image_answer
from core.errors import NotFound
from core.schemas.image import Image as ImageAnswer
from db.images import get_image
from db.jobs.read import get_job

router = APIRouter(prefix="/v1/images", tags=["images"])

TYPES = {"png": "image/png", "webp": "image/webp", "jpg": "image/jpeg", "jpeg": "image/jpeg"}
_FOR_EVER = "private, max-age=31536000, immutable"
"""An image never changes under its id; a deleted one answers 410 to whoever asks again."""


@router.get("/{image_id}", response_model=ImageAnswer, summary="An image's metadata", responses=problems(404, 410))
async def read_image(farm: FarmDependency, caller: CallerDependency, image_id: ImageId) -> Response:
    """Everything that made it: parameters, seed, device, versions."""
    image = await run_in_threadpool(get_image, farm.database, image_id, caller.visible_owner)
    job = await run_in_threadpool(get_job, farm.database, image.job_id)
    return json_answer(image_answer(image, job))


@router.get(
    "/{image_id}/content",
    response_class=FileResponse,
    summary="The file",
    responses=problems(404, 410)
    | {
        200: {"content": {"image/png": {}}, "description": "The file."},
        206: {"content": {"image/png": {}}, "description": "The part that Range asked for."},
        304: {"description": "As you have it."},
        416: {"description": "The file has no such range."},
    },
)
async def read_content(
    request: Request,
    farm: FarmDependency,
    caller: CallerDependency,
    image_id: ImageId,
    download: Annotated[bool, Query(description="Have browsers save it rather than show it.")] = False,
) -> Response:
    """The file as it was stored, its metadata inside."""
    image = await run_in_threadpool(get_image, farm.database, image_id, caller.visible_owner)
    tag = f'"{image.sha256}"'
    headers = {"ETag": tag, "Cache-Control": _FOR_EVER, "X-Content-Type-Options": "nosniff"}
    if tag in [part.strip() for part in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    path = farm.store.path(image.key)
    if not path.is_file():
        raise NotFound("The file of this image is missing from the store.", code="image_file_missing")
    return FileResponse(
        path,
        media_type=TYPES.get(image.format, "application/octet-stream"),
        headers=headers,
        filename=f"{image.id}.{image.format}" if download else None,
    )
