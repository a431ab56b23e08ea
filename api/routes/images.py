"""Images: metadata, rating, deletion; their files as stored, in other formats, and as thumbnails."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from api.caller import Caller, labelled
from api.dependencies import (
    CallerDependency,
    FarmDependency,
    ImageId,
    SubmitterDependency,
    identified,
    json_response,
    none_match,
)
from api.farm import Farm
from api.file_response import OpenFileResponse, RemoteFileResponse
from api.image_formats import negotiate, stored_format
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.public_address import link
from api.rerun import rerun_image
from api.signed_links import is_signed
from api.threads import in_thread
from api.views.jobs import image_view, job_view
from core.api_keys import Scope
from core.errors import InvalidInput, NotFound
from core.imagefile import EXTENSIONS, MEDIA_TYPES, ImageFormat
from core.schemas.images import Image as ImageAnswer
from core.schemas.images import ImageChange
from core.schemas.jobs import Job as JobAnswer
from core.storage import RemoteFile
from db.images import get_image, rate
from db.jobs.read import Snapshot, get_job
from db.retention import delete_image
from db.tables import Image

T = TypeVar("T")

router = APIRouter(prefix="/v1/images", tags=["images"], route_class=LazyRoute)


@router.get("/{image_id}", response_model=ImageAnswer, summary="An image's metadata", responses=error_responses(404, 410))
async def read_image(farm: FarmDependency, caller: CallerDependency, image_id: ImageId) -> Response:
    """Return the parameters, seed, device and versions that made the image."""
    image = await in_thread(get_image, farm.database, image_id, caller.visible_owner)
    job = await in_thread(get_job, farm.database, image.job_id)
    return json_response(image_view(image, job))


@router.patch(
    "/{image_id}", response_model=ImageAnswer, summary="Rate an image", responses=error_responses(400, 404, 410, 413, 415)
)
async def change_image(
    farm: FarmDependency, caller: SubmitterDependency, image_id: ImageId, change: ImageChange
) -> Response:
    """Set 1 to 5 stars, or null for none."""
    image = await in_thread(rate, farm.database, image_id, change.rating, caller.acting_owner)
    job = await in_thread(get_job, farm.database, image.job_id)
    return json_response(image_view(image, job))


@router.delete("/{image_id}", status_code=204, summary="Delete an image", responses=error_responses(404, 410))
async def remove_image(farm: FarmDependency, caller: SubmitterDependency, image_id: ImageId) -> Response:
    """Delete row and file; the id answers 410 from then on."""
    key = await in_thread(delete_image, farm.database, image_id, caller.acting_owner)
    await in_thread(farm.store.delete, key)
    return Response(status_code=204)


@router.post(
    "/{image_id}/rerun",
    status_code=202,
    response_model=JobAnswer,
    summary="Render an image again",
    responses=error_responses(404, 409, 410, 429),
)
async def rerun(farm: FarmDependency, caller: SubmitterDependency, image_id: ImageId) -> Response:
    """Submit the job that made this image again, for this image alone. On the same stack a strict job gives the same bits.

    `warnings` says what differs now: versions, device, number format, LoRA files. Counts like a submit.
    """
    submitted = await rerun_image(farm, caller, image_id)
    answer = job_view(Snapshot(submitted.job))
    return json_response(answer, 202, {"Location": link(f"/v1/jobs/{submitted.job.id}")})


async def get_linked_caller(request: Request, farm: FarmDependency, image_id: ImageId) -> Caller:
    """Return a caller with a key, or one with a signed link to this image."""
    if await is_signed(farm, request, image_id):
        return labelled(None)
    caller = await identified(request, None)
    caller.require(Scope.READ_OWN)
    return caller


LinkedCaller = Annotated[Caller, Depends(get_linked_caller)]

_CACHE_CONTROL = "private, max-age=31536000, immutable"
"""An image never changes under its id; a deleted one answers 410 to new requests."""
_IMAGE_CONTENT = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in MEDIA_TYPES.values()}


@router.get(
    "/{image_id}/content",
    response_class=Response,
    summary="The file",
    responses=error_responses(404, 406, 410)
    | {
        200: {"content": _IMAGE_CONTENT, "description": "The file."},
        206: {"content": _IMAGE_CONTENT, "description": "The requested range."},
        307: {"description": "The file is in a bucket: `Location` is valid for some minutes."},
        304: {"description": "Not modified."},
        400: {"description": "Range is malformed.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        416: {"description": "The file has no such range."},
    },
)
async def read_content(
    request: Request,
    farm: FarmDependency,
    caller: LinkedCaller,
    image_id: ImageId,
    format: Annotated[ImageFormat | None, Query(description="Takes precedence over the Accept header.")] = None,
    download: Annotated[bool, Query(description="Let browsers save the file instead of showing it.")] = False,
) -> Response:
    """Return the file as stored (PNG), or in the format that `format` or Accept requests, with the same metadata."""
    image = await in_thread(get_image, farm.database, image_id, caller.visible_owner)
    stored = stored_format(image.format)
    target = format or negotiate(request.headers.get("accept"), stored)
    headers = _headers(f'"{image.sha256[:32]}-{target}"')
    if _is_not_modified(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if download:
        headers["Content-Disposition"] = f'attachment; filename="{image.id}.{EXTENSIONS[target]}"'
    if target != stored:
        data = await _read(farm, image, farm.image_variants.converted(image.key, target))
        return Response(data, headers=headers, media_type=MEDIA_TYPES[target])
    file = await _read(farm, image, in_thread(farm.store.open, image.key))
    if not isinstance(file, RemoteFile):
        return OpenFileResponse(file, media_type=MEDIA_TYPES[target], headers=headers)
    name = f"{image.id}.{EXTENSIONS[target]}" if download else None
    if (address := file.link(media_type=MEDIA_TYPES[target], file_name=name)) is not None:
        # The link ends before a cached answer would.
        return Response(status_code=307, headers=headers | {"Location": address, "Cache-Control": "no-store"})
    return RemoteFileResponse(file, media_type=MEDIA_TYPES[target], headers=headers)


@router.get(
    "/{image_id}/thumbnail",
    response_class=Response,
    summary="A small version",
    responses=error_responses(404, 410)
    | {
        200: {"content": {"image/webp": _IMAGE_CONTENT["image/webp"]}, "description": "A WebP."},
        304: {"description": "Not modified."},
    },
)
async def read_thumbnail(
    request: Request,
    farm: FarmDependency,
    caller: CallerDependency,
    image_id: ImageId,
    size: Annotated[int, Query(ge=32, le=1024, description="Longest side in pixels.")] = 320,
) -> Response:
    """Return a reduced version; small images are not enlarged."""
    image = await in_thread(get_image, farm.database, image_id, caller.visible_owner)
    headers = _headers(f'"{image.sha256[:32]}-{size}"')
    if _is_not_modified(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    data = await _read(farm, image, farm.image_variants.thumbnail(image.key, size))
    return Response(data, headers=headers, media_type="image/webp")


async def _read(farm: Farm, image: Image, reading: Awaitable[T]) -> T:
    """Return what was read of an image's file.

    Raises Gone when the image was deleted after its row was read, NotFound `image_damaged` when its file cannot be decoded.
    """
    try:
        return await reading
    except NotFound:
        await in_thread(get_image, farm.database, image.id)
        raise
    except InvalidInput as error:
        if error.code == "image_too_large":
            raise
        raise NotFound(
            f"The file of this image is damaged: {image.key}. Restore it from a backup, or delete the image.",
            code="image_damaged",
        ) from error


def _headers(tag: str) -> dict[str, str]:
    return {"ETag": tag, "Cache-Control": _CACHE_CONTROL, "Vary": "Accept"}


def _is_not_modified(request: Request, tag: str) -> bool:
    return none_match(request.headers.get("if-none-match"), tag)
