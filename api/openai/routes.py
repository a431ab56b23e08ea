"""Routes of OpenAI's image API: generations, edits, variations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from pydantic import ValidationError
from starlette.responses import Response, StreamingResponse

from api.caller import Caller
from api.dependencies import FarmDependency, SubmitterDependency
from api.disconnects import wait_while_connected
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.openai.answer import answer_of
from api.openai.inputs import Source, StoredImage, mask_image, own_mask, read_edit, read_variation, start_image
from api.openai.request import ImageOptions, ImagesRequest
from api.openai.streaming import ImageStream
from api.openai.variation import variation_fields
from api.submission import error_of_job, idempotency_key, submit_job
from api.threads import in_thread
from api.validation import from_pydantic
from core.lifecycle import JobStatus
from core.schemas.openai import OpenAIError, OpenAIImages

router = APIRouter(prefix="/v1/images", tags=["openai"], route_class=LazyRoute)

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
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The images; with `stream`, events: partial_image, completed, error.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}
IdempotencyHeader = Annotated[
    str | None,
    Header(alias="Idempotency-Key", description="As for POST /v1/jobs; the job then continues when you disconnect."),
]


@router.post("/generations", response_model=OpenAIImages, summary="Render now (OpenAI's shape)", responses=_ERRORS | _STREAM)
async def generate(
    request: Request,
    farm: FarmDependency,
    caller: SubmitterDependency,
    wanted: ImagesRequest,
    key_header: IdempotencyHeader = None,
) -> Response:
    """Render and wait for the images. The official `openai` package works with `base_url="http://HOST:PORT/v1"`.

    A job that has not started is canceled when you close the connection.
    """
    return await _respond(farm, caller, request, wanted, key_header, {}, {})


@router.post("/edits", response_model=OpenAIImages, summary="Edit an image (OpenAI's shape)", responses=_ERRORS | _STREAM)
async def edit(
    request: Request, farm: FarmDependency, caller: SubmitterDependency, key_header: IdempotencyHeader = None
) -> Response:
    """Render from an image, or with a `mask` repaint what is transparent in it. Send a form or JSON."""
    found = await read_edit(request)
    images = {"init_image": await start_image(farm, caller, found.images[0])}
    if found.mask is not None:
        images["mask"] = await mask_image(farm, caller, found.mask)
    elif _is_own_mask(found.wanted, found.images[0]) and (mask := await own_mask(farm, caller, found.images[0])):
        images["mask"] = mask
    warnings = (
        [f"Of {len(found.images)} images the first was used: the models here take one."] if len(found.images) > 1 else []
    )
    return await _respond(farm, caller, request, found.wanted, key_header, {}, images, warnings)


@router.post(
    "/variations", response_model=OpenAIImages, summary="Vary an image (OpenAI's shape)", responses=_ERRORS | _STREAM
)
async def vary(
    request: Request, farm: FarmDependency, caller: SubmitterDependency, key_header: IdempotencyHeader = None
) -> Response:
    """Render from an image, each with another variation seed; the prompt is the one in the file, if it names one."""
    wanted, data = await read_variation(request)
    overview = await farm.overview.get()
    default = farm.model_selector.default(overview)
    fields, warnings = await variation_fields(farm, wanted, data, default)
    images = {"init_image": await start_image(farm, caller, Source(data))}
    return await _respond(farm, caller, request, wanted, key_header, fields, images, warnings)


def _is_own_mask(wanted: ImageOptions, image: Source) -> bool:
    return (wanted.model or "").startswith("dall-e") and image.data is not None


async def _respond(
    farm: Farm,
    caller: Caller,
    request: Request,
    wanted: ImageOptions,
    key_header: str | None,
    fields: Mapping[str, Any],
    images: Mapping[str, StoredImage],
    warnings: Sequence[str] = (),
) -> Response:
    """Submit the job, and answer with its images or a stream of its events.

    `fields` and `images`: fields of the job by their names; `images` is empty for a generation.
    """
    default = farm.model_selector.default(await farm.overview.get())
    try:
        job_request, found = wanted.job(
            farm.catalogue, default, {**fields, **{name: image.id for name, image in images.items()}}
        )
    except ValidationError as error:
        raise from_pydantic(error) from None
    found += warnings
    identities = {name: image.identity for name, image in images.items()}
    key = idempotency_key(key_header, job_request.as_sent() | identities)
    submitted = await submit_job(farm, caller, job_request, key, empty_prompt=bool(images))
    keep = key is not None
    if wanted.stream:
        name = "image_edit" if images else "image_generation"
        stream = ImageStream(farm, submitted, wanted, found, name, keep)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(stream.events(), media_type="text/event-stream", headers=headers)
    snapshot = await wait_while_connected(farm, request, submitted, keep=keep)
    if snapshot.job.status != JobStatus.SUCCEEDED:
        raise error_of_job(snapshot.job)
    answer = await answer_of(farm, caller, request, snapshot, wanted, found)
    # Images as base64 make this many megabytes of JSON, which would stall the event loop.
    return await in_thread(_json, answer)


def _json(answer: OpenAIImages) -> Response:
    text = answer.model_dump_json(exclude_none=True)
    return Response(text, headers={"Cache-Control": "no-cache"}, media_type="application/json")
