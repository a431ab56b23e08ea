"""Build the answers of the OpenAI face from finished jobs."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request

from api.caller import Caller
from api.farm import Farm
from api.image_formats import stored_format
from api.openai.quality import echoed
from api.openai.request import ImageOptions
from api.public_address import absolute_link
from api.signed_links import signed_query
from api.threads import in_thread
from api.views.jobs import notice_of
from core.imagefile import ImageFormat
from core.schemas.openai import GeneratedImage, ImageUsage, InputTokens, OpenAIImages
from db.jobs.read import Snapshot
from db.tables import Image

_DEFAULT_QUALITY = 92
_BYTES_PER_TOKEN, _PATCH = 4, 16


async def answer_of(
    farm: Farm, caller: Caller, request: Request, snapshot: Snapshot, wanted: ImageOptions, warnings: Sequence[str]
) -> OpenAIImages:
    """Return a succeeded job's images, as links or base64."""
    job = snapshot.job
    data = [await _generated_image(farm, caller, request, image, wanted) for image in snapshot.images]
    return OpenAIImages(
        created=int(job.completed_at or job.created_at),
        data=data,
        output_format=wanted.output_format or "png",
        quality=echoed(wanted.quality),
        size=size_of(job.input),
        usage=usage_of(job.input),
        job_id=job.id,
        model=job.model,
        warnings=[*job.warnings, *warnings],
        notice=notice_of(job.model),
    )


def size_of(job_input: Mapping[str, Any]) -> str:
    """Return `512x512`."""
    return f"{job_input['width']}x{job_input['height']}"


def usage_of(job_input: Mapping[str, Any], images: int | None = None) -> ImageUsage:
    """Estimate the tokens of a job, or of `images` of it."""
    text = -(-len(str(job_input["prompt"]).encode()) // _BYTES_PER_TOKEN)
    start = job_input.get("init_image")
    from_image = _patches(start["width"], start["height"]) if start else 0
    output = _patches(job_input["width"], job_input["height"]) * (images or int(job_input.get("num_images", 1)))
    return ImageUsage(
        input_tokens=text + from_image,
        output_tokens=output,
        total_tokens=text + from_image + output,
        input_tokens_details=InputTokens(text_tokens=text, image_tokens=from_image),
    )


def _patches(width: int, height: int) -> int:
    return -(-width // _PATCH) * -(-height // _PATCH)


async def base64_of(farm: Farm, image: Image, wanted: ImageOptions) -> str:
    """Return an image's file as base64, in the requested format and quality."""
    target: ImageFormat = wanted.output_format or "png"
    variants = farm.image_variants
    if target == stored_format(image.format) and (target == "png" or wanted.output_compression is None):
        data = await variants.file(image.key)
    else:
        quality = _DEFAULT_QUALITY if wanted.output_compression is None else max(wanted.output_compression, 1)
        data = await variants.converted(image.key, target, quality)
    return await in_thread(lambda: base64.b64encode(data).decode())


async def _generated_image(
    farm: Farm, caller: Caller, request: Request, image: Image, wanted: ImageOptions
) -> GeneratedImage:
    if wanted.answers_base64:
        return GeneratedImage(b64_json=await base64_of(farm, image, wanted), seed=image.seed, image_id=image.id)
    query = await signed_query(farm, caller, image.id)
    url = absolute_link(f"/v1/images/{image.id}/content?format={wanted.output_format or 'png'}{query}", request)
    return GeneratedImage(url=url, seed=image.seed, image_id=image.id)
