"""txt2img and img2img."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.responses import Response

from api.a1111.answer import images_answer
from api.a1111.caller import A1111Submitter
from api.a1111.documents import errors
from api.a1111.request import decode_image, job_request, without_effect
from api.answers import json_answer
from api.caller import Caller
from api.dependencies import FarmDependency
from api.farm import Farm
from api.parameters_errors import from_pydantic
from api.submission import IdempotencyKey, idempotency_key
from api.synchronous import render_now
from api.uploads import take_in
from core.errors import InvalidInput
from core.schemas.a1111 import ImagesAnswer, Img2Img, Txt2Img
from core.schemas.job_request import JobRequest
from db.tables import Upload

router = APIRouter(prefix="/sdapi/v1", tags=["a1111"])

_ERRORS: dict[int | str, dict[str, Any]] = errors(400, 408, 409, 413, 415, 429, 500, 504)
TASK_KEY = "a1111-task:"


@router.post("/txt2img", response_model=ImagesAnswer, summary="Render now (A1111's shape)", responses=_ERRORS)
async def txt2img(farm: FarmDependency, caller: A1111Submitter, wanted: Txt2Img) -> Response:
    """Waits for the pictures. Steps and guidance left out are the model's own."""
    return await _render(farm, caller, wanted, None)


@router.post("/img2img", response_model=ImagesAnswer, summary="Render from a picture", responses=_ERRORS)
async def img2img(farm: FarmDependency, caller: A1111Submitter, wanted: Img2Img) -> Response:
    """Starts from the first of `init_images`."""
    if not wanted.init_images:
        raise InvalidInput("Send a picture to start from, as base64.", field="init_images")
    if wanted.mask:
        raise InvalidInput("Inpainting is not offered: send no mask.", field="mask", code="not_offered")
    data = decode_image(wanted.init_images[0], "init_images")
    upload = await take_in(farm, caller, data, "init_images")
    return await _render(farm, caller, wanted, upload)


async def _render(farm: Farm, caller: Caller, wanted: Txt2Img, upload: Upload | None) -> Response:
    try:
        job = job_request(wanted, farm.catalogue, farm.checkpoints.get(caller.owner), upload.id if upload else None)
    except ValidationError as error:
        raise from_pydantic(error) from None
    snapshot = await render_now(farm, caller, job, _key(wanted, job, upload))
    return json_answer(await images_answer(farm, snapshot, wanted, without_effect(wanted)))


def _key(wanted: Txt2Img, job: JobRequest, upload: Upload | None) -> IdempotencyKey | None:
    """A task id names one job: it can be asked about under that name, and sent again without rendering twice."""
    if not wanted.force_task_id:
        return None
    body = job.as_sent() | ({"init_image": upload.sha256} if upload else {})
    return idempotency_key(TASK_KEY + wanted.force_task_id, body)
