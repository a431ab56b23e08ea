"""Route POST /v1/images/generations."""

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
from api.public_address import absolute_link
from api.signed_links import signed_query
from api.submission import idempotency_key, submit_and_wait
from api.threads import in_thread
from api.validation import from_pydantic
from api.views.jobs import notice_of
from core.imagefile import ImageFormat
from core.schemas.openai import GeneratedImage, ImagesAnswer, OpenAIError
from db.jobs.read import Snapshot
from db.tables import Image

router = APIRouter(prefix="/v1/images", tags=["openai"])

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": OpenAIError, "description": description}
    for status, description in {
        400: "A value is wrong; `param` names it.",
        401: "The key is missing or invalid.",
        403: "The key lacks the scope.",
        404: "There is no such model.",
        408: "The body did not arrive in time.",
        409: "The present state does not allow it; for example, no worker serves that model.",
        413: "The body is too large.",
        415: "The content type is not supported.",
        429: "A limit is reached; Retry-After states when to retry.",
        500: "The rendering failed; the message states the reason.",
        503: "The database is unavailable.",
        504: "The job takes longer than a request may wait. It continues; poll `job_url`.",
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
    """Render and wait for the images. The official `openai` package works with `base_url="http://HOST:PORT/v1"`."""
    try:
        job_request, warnings = wanted.job(farm.catalogue)
    except ValidationError as error:
        raise from_pydantic(error) from None
    key = idempotency_key(idempotency_key_header, job_request.as_sent())
    snapshot = await submit_and_wait(farm, caller, job_request, key)
    target = wanted.output_format or "png"
    data = [await _generated_image(farm, caller, request, image, wanted, target) for image in snapshot.images]
    # Images as base64 make this many megabytes of JSON, which would stall the event loop.
    return await in_thread(json_response, _answer(snapshot, data, warnings, target))


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


async def _generated_image(
    farm: Farm, caller: Caller, request: Request, image: Image, wanted: ImagesRequest, target: ImageFormat
) -> GeneratedImage:
    if wanted.response_format == "b64_json":
        same = target == stored_format(image.format)
        variants = farm.image_variants
        data = await (variants.file(image.key) if same else variants.converted(image.key, target))
        encoded = await in_thread(lambda: base64.b64encode(data).decode())
        return GeneratedImage(b64_json=encoded, seed=image.seed, image_id=image.id)
    query = await signed_query(farm, caller, image.id)
    url = absolute_link(f"/v1/images/{image.id}/content?format={target}{query}", request)
    return GeneratedImage(url=url, seed=image.seed, image_id=image.id)
