"""Enlarge images (A1111's "extras"), and list the upscalers by A1111's names."""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from fastapi import APIRouter
from PIL import Image
from starlette.responses import JSONResponse, Response

from api.a1111.errors import errors
from api.a1111.request import A1111Submitter
from api.a1111.upscaler_names import NONE, name_of, upscaler_of
from api.caller import Caller
from api.dependencies import CallerDependency, FarmDependency, json_response
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.submission import error_of_job, wait_for_end
from api.threads import in_thread
from api.uploads import store_upload
from api.upscales import submit_upscale, upscalers_of
from core.catalogue.upscalers import MAX_SCALE
from core.errors import InvalidInput
from core.imagefile import ImageMetadata, decode_base64_image, encode, open_rgb, open_with_alpha, read_metadata
from core.lifecycle import JobStatus
from core.schemas.a1111 import (
    A1111Upscaler,
    ExtraBatchAnswer,
    ExtraBatchImages,
    ExtraSingleAnswer,
    ExtraSingleImage,
    ExtrasOptions,
)
from core.schemas.upscales import UpscaleRequest
from db.tables import Upload

router = APIRouter(prefix="/sdapi/v1", tags=["a1111"], route_class=LazyRoute)

_ERRORS: dict[int | str, dict[str, Any]] = errors(400, 408, 409, 413, 415, 429, 500, 504)
_MAX_BATCH = 200
_OFF: tuple[tuple[str, str], ...] = (
    ("gfpgan_visibility", "gfpgan_visibility has no effect: faces are not restored here."),
    ("codeformer_visibility", "codeformer_visibility has no effect: faces are not restored here."),
    ("extras_upscaler_2_visibility", "upscaler_2 has no effect here."),
)


@dataclass(frozen=True)
class _Target:
    """How one image is enlarged: by a whole factor in the queue, then resampled to `size` and cut to `cut`."""

    scale: int
    size: tuple[int, int]
    cut: tuple[int, int]


@router.get("/upscalers", response_model=list[A1111Upscaler], summary="Upscalers", responses=errors())
async def read_upscalers(farm: FarmDependency, caller: CallerDependency) -> Response:
    """List "None" and the upscalers whose weights are here, by A1111's names; `model_name` is the farm's id."""
    upscalers, workers = await in_thread(upscalers_of, farm, await farm.overview.get())
    rows = [A1111Upscaler(name=NONE, scale=None)]
    rows += [A1111Upscaler(name=name_of(row), model_name=row.id) for row in upscalers if workers[row.id] or row.is_installed]
    return JSONResponse([row.model_dump() for row in rows])


@router.post("/extra-single-image", response_model=ExtraSingleAnswer, summary="Enlarge an image", responses=_ERRORS)
async def extra_single_image(farm: FarmDependency, caller: A1111Submitter, wanted: ExtraSingleImage) -> Response:
    """Enlarge one image and wait for it."""
    images, about = await _enlarged(farm, caller, wanted, [("image", wanted.image)])
    return await in_thread(json_response, ExtraSingleAnswer(html_info=about, image=images[0]))


@router.post("/extra-batch-images", response_model=ExtraBatchAnswer, summary="Enlarge images", responses=_ERRORS)
async def extra_batch_images(farm: FarmDependency, caller: A1111Submitter, wanted: ExtraBatchImages) -> Response:
    """Enlarge images and wait for all of them."""
    if not 1 <= len(wanted.imageList) <= _MAX_BATCH:
        raise InvalidInput(f"Send 1 to {_MAX_BATCH} images in imageList.", field="imageList")
    sources = [(f"imageList.{index}.data", each.data) for index, each in enumerate(wanted.imageList)]
    images, about = await _enlarged(farm, caller, wanted, sources)
    return await in_thread(json_response, ExtraBatchAnswer(html_info=about, images=images))


async def _enlarged(
    farm: Farm, caller: Caller, wanted: ExtrasOptions, sources: Sequence[tuple[str, str]]
) -> tuple[list[str], str]:
    """Return the enlarged images as base64, and what `html_info` says. Raises InvalidInput before any job is submitted.

    The upscaler "None" leaves the images as they are, as A1111's does (modules/scripts/postprocessing_upscale.py).
    """
    if wanted.upscaler_1 in (None, "", NONE):
        images = []
        for field, text in sources:
            async with farm.decoding:
                images.append(await in_thread(_unchanged, farm, text, field))
        return images, "<p>upscaler_1 is None: nothing was enlarged. GET /sdapi/v1/upscalers lists the others.</p>"
    upscalers, _ = await in_thread(upscalers_of, farm, await farm.overview.get())
    upscaler, renamed = upscaler_of(wanted.upscaler_1, upscalers)
    uploads = [await _upload(farm, caller, field, text) for field, text in sources]
    most = farm.settings.max_upscale_pixels
    targets = [_target(wanted, upload, most) for upload in uploads]
    if (total := sum(target.size[0] * target.size[1] for target in targets)) > most:
        raise InvalidInput(  # All of them are in memory when the answer is written.
            f"The results would have {total} pixels together, this farm sends at most {most} in one answer: "
            "send several requests.",
            field="imageList",
        )
    # One after the other: the job that a limit refuses ends the call, and those before it are in the queue.
    submitted = [
        await submit_upscale(farm, caller, UpscaleRequest(upload=upload.id, scale=target.scale, upscaler=upscaler), None)
        for upload, target in zip(uploads, targets, strict=True)
    ]
    snapshots = await asyncio.gather(*(wait_for_end(farm, each.job.id) for each in submitted))
    images = []
    for snapshot, target in zip(snapshots, targets, strict=True):
        if snapshot.job.status != JobStatus.SUCCEEDED:
            raise error_of_job(snapshot.job)
        async with farm.decoding:
            images.append(await in_thread(_finished, farm, snapshot.images[0].key, target))
    said = [f"{name_of(upscalers.get(upscaler))}: {', '.join(f'{t.cut[0]}x{t.cut[1]}' for t in targets[:10])}."]
    said += [renamed] if renamed else []
    said += [text for name, text in _OFF if getattr(wanted, name)]
    return images, f"<p>{' '.join(said)}</p>"


async def _upload(farm: Farm, caller: Caller, field: str, text: str) -> Upload:
    return await store_upload(farm, caller, await in_thread(decode_base64_image, text, field), field)


def _target(wanted: ExtrasOptions, upload: Upload, max_pixels: int) -> _Target:
    """Return the whole factor to enlarge by, and the exact size; raise InvalidInput for one that is too large."""
    width, height = upload.width, upload.height
    if wanted.resize_mode == 1:
        box = wanted.upscaling_resize_w or 512, wanted.upscaling_resize_h or 512
        crops = wanted.upscaling_crop is not False
        factor = (max if crops else min)(box[0] / width, box[1] / height)
        size = max(round(width * factor), 1), max(round(height * factor), 1)
        cut = (min(box[0], size[0]), min(box[1], size[1])) if crops else size
    else:
        factor = wanted.upscaling_resize or 2.0
        size = max(int(width * factor), 1), max(int(height * factor), 1)
        cut = size
    if size[0] * size[1] > max_pixels:
        raise InvalidInput(
            f"The result would be {size[0]}x{size[1]}: this farm makes at most {max_pixels} pixels.",
            field="upscaling_resize",
        )
    return _Target(min(max(math.ceil(factor - 1e-9), 2), MAX_SCALE), size, cut)


def _finished(farm: Farm, key: str, target: _Target) -> str:
    """Return the stored image at its exact size, as base64."""
    data = farm.store.read(key)
    image = open_rgb(data, max_pixels=farm.settings.max_upscale_pixels)
    if image.size != target.size or target.cut != target.size:
        metadata = read_metadata(data).imagefarm
        if image.size != target.size:
            image = image.resize(target.size, Image.Resampling.LANCZOS)
        left, top = (target.size[0] - target.cut[0]) // 2, (target.size[1] - target.cut[1]) // 2
        data = _encoded(image.crop((left, top, left + target.cut[0], top + target.cut[1])), metadata)
    return base64.b64encode(data).decode()


def _unchanged(farm: Farm, text: str, field: str) -> str:
    image = open_with_alpha(decode_base64_image(text, field), max_pixels=farm.settings.max_upload_pixels)
    return base64.b64encode(_encoded(image, None)).decode()


def _encoded(image: Image.Image, metadata: ImageMetadata | None) -> bytes:
    if metadata is not None:
        return encode(image, metadata)
    file = BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
