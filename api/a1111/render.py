"""Routes txt2img and img2img."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.responses import Response

from api.a1111.errors import errors
from api.a1111.request import FACE, A1111Submitter, ignored_fields, job_request
from api.a1111.response import images_response, interrupted_response
from api.caller import Caller
from api.dependencies import FarmDependency
from api.farm import Farm
from api.submission import IdempotencyKey, error_of_job, idempotency_key, submit_job, wait_for_end
from api.threads import in_thread
from api.uploads import store_upload
from api.validation import from_pydantic
from core.errors import InvalidInput
from core.imagefile import decode_base64_image
from core.imagefile.masks import inverted
from core.lifecycle import JobStatus
from core.schemas.a1111 import ImagesAnswer, Img2Img, Txt2Img
from core.schemas.jobs import JobRequest
from db.tables import Upload

router = APIRouter(prefix="/sdapi/v1", tags=["a1111"])

_ERRORS: dict[int | str, dict[str, Any]] = errors(400, 408, 409, 413, 415, 429, 500, 504)
TASK_KEY = "a1111-task:"


@router.post("/txt2img", response_model=ImagesAnswer, summary="Render now (A1111's shape)", responses=_ERRORS)
async def txt2img(farm: FarmDependency, caller: A1111Submitter, wanted: Txt2Img) -> Response:
    """Render and wait for the images. Steps and guidance default to the model's own."""
    return await _render(farm, caller, wanted, {})


@router.post("/img2img", response_model=ImagesAnswer, summary="Render from an image", responses=_ERRORS)
async def img2img(farm: FarmDependency, caller: A1111Submitter, wanted: Img2Img) -> Response:
    """Render from the first of `init_images` and wait for the images; with a `mask`, repaint its white areas."""
    if not wanted.init_images:
        raise InvalidInput("Send an image to start from, as base64.", field="init_images")
    data = await in_thread(decode_base64_image, wanted.init_images[0], "init_images")
    uploads = {"init_image": await store_upload(farm, caller, data, "init_images")}
    if wanted.mask:
        uploads["mask"] = await _store_mask(farm, caller, wanted.mask, invert=bool(wanted.inpainting_mask_invert))
    return await _render(farm, caller, wanted, uploads)


async def _store_mask(farm: Farm, caller: Caller, text: str, *, invert: bool) -> Upload:
    try:
        data = await in_thread(decode_base64_image, text, "mask")
        if invert:
            async with farm.decoding:
                data = await in_thread(inverted, data, farm.settings.max_upload_pixels)
        return await store_upload(farm, caller, data, "mask")
    except InvalidInput as error:
        # This face's errors name no field.
        raise InvalidInput(f"The mask cannot be used: {error.message}", field="mask", code=error.code) from error


async def _render(farm: Farm, caller: Caller, wanted: Txt2Img, uploads: Mapping[str, Upload]) -> Response:
    ids = {field: upload.id for field, upload in uploads.items()}
    try:
        job = job_request(wanted, farm.catalogue, farm.checkpoints.get(caller.owner), ids)
    except ValidationError as error:
        raise from_pydantic(error) from None
    submitted = await submit_job(farm, caller, job, _key(wanted, job, uploads), face=FACE)
    snapshot = await wait_for_end(farm, submitted.job.id)
    if snapshot.job.status == JobStatus.CANCELED:
        return await interrupted_response(farm, snapshot, wanted, ignored_fields(wanted))
    if snapshot.job.status != JobStatus.SUCCEEDED:
        raise error_of_job(snapshot.job)
    return await images_response(farm, snapshot, wanted, ignored_fields(wanted))


def _key(wanted: Txt2Img, job: JobRequest, uploads: Mapping[str, Upload]) -> IdempotencyKey | None:
    """Return the idempotency key of a task id: the id names one job, and sending it again does not render twice."""
    if not wanted.force_task_id:
        return None
    body = job.as_sent() | {field: upload.sha256 for field, upload in uploads.items()}
    return idempotency_key(TASK_KEY + wanted.force_task_id, body)
