"""Uploads: images and masks for image-to-image."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from api.dependencies import CallerDependency, FarmDependency, SubmitterDependency, json_response
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.public_address import link
from api.threads import in_thread
from api.uploads import require_file, store_upload
from core.errors import FarmError, NotFound
from core.ids import is_id
from core.schemas.base import iso
from core.schemas.images import Upload as UploadAnswer
from db.tables import Upload
from db.uploads import get_upload, remove_upload

router = APIRouter(prefix="/v1/uploads", tags=["uploads"], route_class=LazyRoute)

TYPES = ("image/png", "image/jpeg", "image/webp", "application/octet-stream")
"""Accepted content types; the last is for client generators, which know no image types. The content decides the format."""
_BODY = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in TYPES},
    }
}


async def upload_id_of(upload_id: Annotated[str, Path(description="The upload's id.")]) -> str:
    """Return the id; raise NotFound without a query for text that cannot be an id."""
    if not is_id(upload_id):
        raise NotFound("There is no upload with this id.", code="upload_not_found")
    return upload_id


UploadId = Annotated[str, Depends(upload_id_of)]


@router.post(
    "",
    status_code=201,
    response_model=UploadAnswer,
    summary="Upload an image to start from",
    responses=error_responses(408, 413, 415),
    openapi_extra=_BODY,
)
async def create_upload(request: Request, farm: FarmDependency, caller: SubmitterDependency) -> Response:
    """Store an image or a mask. The body is the file itself: PNG, JPEG or WebP. Only its pixels are kept."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in TYPES:
        raise FarmError(
            f"Send the image itself as the body, with Content-Type {', '.join(TYPES)}.",
            code="unsupported_media_type",
        )
    upload = await store_upload(farm, caller, await request.body())
    return json_response(upload_view(upload), 201, {"Location": link(f"/v1/uploads/{upload.id}")})


def upload_view(upload: Upload) -> UploadAnswer:
    """Convert an upload's row to the API's shape."""
    return UploadAnswer.model_construct(
        id=upload.id,
        width=upload.width,
        height=upload.height,
        bytes=upload.bytes,
        sha256=upload.sha256,
        created_at=iso(upload.created_at),  # type: ignore[arg-type]
    )


@router.get("/{upload_id}", response_model=UploadAnswer, summary="An upload", responses=error_responses(404, 410))
async def read_upload(farm: FarmDependency, caller: CallerDependency, upload_id: UploadId) -> Response:
    """Return the size and hash of an upload."""
    upload = await in_thread(get_upload, farm.database, upload_id, caller.visible_owner)
    await in_thread(require_file, farm, upload)
    return json_response(upload_view(upload))


@router.delete("/{upload_id}", status_code=204, summary="Delete an upload", responses=error_responses(404, 410))
async def delete_upload(farm: FarmDependency, caller: SubmitterDependency, upload_id: UploadId) -> Response:
    """Delete an upload; a queued job that uses it will fail."""
    upload = await in_thread(get_upload, farm.database, upload_id, caller.acting_owner)
    await in_thread(remove_upload, farm.database, upload)
    await in_thread(farm.uploads.delete, upload.key)
    return Response(status_code=204)
