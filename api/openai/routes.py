"""POST /v1/images/generations."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from api.caller import Caller
from api.dependencies import FarmDependency, SubmitterDependency, json_response
from api.farm import Farm
from api.image_formats import stored_format
from api.openai.request import ImagesRequest
from api.signed_links import signed_query
from api.submission import idempotency_key, submit_and_wait
from api.validation import from_pydantic
from api.views.images import notice_of
from core.imagefile import ImageFormat
from core.schemas.openai import GeneratedImage, ImagesAnswer, OpenAIError
from db.jobs.read import Snapshot
from db.tables import Image

router = APIRouter(prefix="/v1/images", tags=["openai"])

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": OpenAIError, "description": words}
    for status, words in {
        400: "A value is wrong; `param` names it.",
        401: "A key is missing or not valid.",
        403: "The key lacks the scope.",
        404: "There is no such model.",
        408: "The body did not arrive in time.",
        409: "The present state does not allow it, such as: nobody serves that model.",
        413: "The body is too large.",
        415: "The content type is not taken.",
        429: "A limit is reached; Retry-After says when to come back.",
        500: "The rendering failed; the message says why.",
        503: "The database is away.",
        504: "It takes longer than you may be kept waiting: the job goes on, `job_url` says where.",
    }.items()
}


@router.post("/generations", response_model=ImagesAnswer, summary="Render now (OpenAI's shape)", responses=_ERRORS)
async def generate(
    request: Request,
    farm: FarmDependency,
    caller: SubmitterDependency,
    wanted: ImagesRequest,
    idempotency_key_header: Annotated[str | None, Header(alias="Idempotency-Key")] = None,
) -> Response:
    """Waits for the pictures. The official `openai` package works with `base_url="http://HOST:PORT/v1"`."""
    try:
        job_request, warnings = wanted.job(farm.catalogue)
    except ValidationError as error:
        raise from_pydantic(error) from None
    key = idempotency_key(idempotency_key_header, job_request.as_sent())
    snapshot = await submit_and_wait(farm, caller, job_request, key)
    target = wanted.output_format or "png"
    data = [await _picture(farm, caller, request, image, wanted, target) for image in snapshot.images]
    return json_response(_answer(snapshot, data, warnings, target))


def _answer(snapshot: Snapshot, data: list[GeneratedImage], warnings: list[str], target: str) -> BaseModel:
    job = snapshot.job
    return ImagesAnswer(
        created=int(job.completed_at or job.created_at),
        data=data,
        output_format=target,
        size=f"{job.input['width']}x{job.input['height']}",
        job_id=job.id,
        model=job.model,
        warnings=[*job.warnings, *warnings],
        notice=notice_of(job.model),
    )


async def _picture(
    farm: Farm, caller: Caller, request: Request, image: Image, wanted: ImagesRequest, target: ImageFormat
) -> GeneratedImage:
    if wanted.response_format == "b64_json":
        same = target == stored_format(image.format)
        data = await (farm.pictures.file(image.key) if same else farm.pictures.converted(image.key, target))
        return GeneratedImage(b64_json=base64.b64encode(data).decode(), seed=image.seed, image_id=image.id)
    query = await signed_query(farm, caller, image.id)
    url = f"{str(request.base_url).rstrip('/')}/v1/images/{image.id}/content?format={target}{query}"
    return GeneratedImage(url=url, seed=image.seed, image_id=image.id)
