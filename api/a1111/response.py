"""Convert a finished job to A1111's response."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

from PIL import Image
from starlette.responses import Response

from api.dependencies import json_response
from api.farm import Farm
from api.threads import in_thread
from api.views.jobs import notice_of
from core.imagefile import ImageMetadata, encode, open_rgb, read_metadata
from core.parameters.seeds import seeds_of
from core.schemas.a1111 import ImagesAnswer, Txt2Img
from core.storage import ImageStore
from db.jobs.read import Snapshot
from db.tables import Job

_MAX_PREVIEW_PIXELS = 4096 * 4096


INTERRUPTED = "Interrupted: the images are the last previews before the interruption."


async def images_response(farm: Farm, snapshot: Snapshot, wanted: Txt2Img, warnings: list[str]) -> Response:
    """Return the images as base64, the parameters as sent, and the effective ones as JSON in a string."""
    async with farm.decoding:
        return await in_thread(_images_response, farm.store, snapshot, wanted, warnings)


async def interrupted_response(farm: Farm, snapshot: Snapshot, wanted: Txt2Img, warnings: list[str]) -> Response:
    """Return what there is of a canceled job: the last preview of each image, at full size; `info` has `interrupted`."""
    count = int(snapshot.job.input.get("num_images", 1))
    previews = [(index, await farm.watcher.preview_of(snapshot.job.id, index)) for index in range(count)]
    found = [(index, preview) for index, preview in previews if preview is not None]
    async with farm.decoding:
        return await in_thread(_interrupted_response, snapshot.job, found, wanted, warnings)


def _images_response(store: ImageStore, snapshot: Snapshot, wanted: Txt2Img, warnings: list[str]) -> Response:
    """Build the response on a thread: decoding, base64 and JSON of many megabytes would stall the event loop."""
    files = [(image.seed, store.read(image.key)) for image in snapshot.images]
    return _response(snapshot.job, files, wanted, warnings)


def _interrupted_response(job: Job, previews: list[tuple[int, bytes]], wanted: Txt2Img, warnings: list[str]) -> Response:
    files = [(seeds_of(job.input, index)["seed"], _enlarged(job, index, preview)) for index, preview in previews]
    return _response(job, files, wanted, [INTERRUPTED, *warnings], interrupted=True)


def _enlarged(job: Job, index: int, preview: bytes) -> bytes:
    """Return a preview as a PNG of the requested size, with the settings that its job had."""
    values = job.input
    image = open_rgb(preview, max_pixels=_MAX_PREVIEW_PIXELS)
    metadata = ImageMetadata(
        prompt=values["prompt"],
        negative_prompt=values.get("negative_prompt") or "",
        **seeds_of(values, index),
        variation_strength=values.get("variation_strength"),
        num_inference_steps=values["num_inference_steps"],
        guidance_scale=values["guidance_scale"],
        width=values["width"],
        height=values["height"],
        model=job.model,
        strength=values.get("strength"),
        loras=values.get("loras", ()),
        job_id=job.id,
        index=index,
    )
    return encode(image.resize((values["width"], values["height"]), Image.Resampling.BILINEAR), metadata)


def _response(
    job: Job, files: list[tuple[int, bytes]], wanted: Txt2Img, warnings: list[str], *, interrupted: bool = False
) -> Response:
    """Build the answer from (seed, file) of each image."""
    texts = [read_metadata(data).parameters_text or "" for _, data in files]
    info = _info(job, [seed for seed, _ in files], wanted, texts, warnings) | {"interrupted": interrupted}
    return json_response(
        ImagesAnswer(
            images=[] if wanted.send_images is False else [base64.b64encode(data).decode() for _, data in files],
            parameters=wanted.model_dump(mode="json", exclude={"init_images", "mask"}),
            info=json.dumps(info),
        )
    )


def _info(job: Job, seeds: list[int], wanted: Txt2Img, texts: list[str], warnings: list[str]) -> dict[str, Any]:
    parameters, count = job.input, len(seeds)
    return {
        "prompt": parameters["prompt"],
        "all_prompts": parameters.get("prompts", [parameters["prompt"]] * count)[:count],
        "negative_prompt": parameters.get("negative_prompt", ""),
        "all_negative_prompts": parameters.get("negative_prompts", [parameters.get("negative_prompt", "")] * count)[:count],
        "seed": parameters["seed"],
        "all_seeds": seeds,
        "subseed": parameters.get("variation_seed", parameters["seed"]),
        "all_subseeds": [seeds_of(parameters, index).get("variation_seed", seed) for index, seed in enumerate(seeds)],
        "subseed_strength": parameters.get("variation_strength", 0),
        "width": parameters["width"],
        "height": parameters["height"],
        "sampler_name": "Euler",
        "cfg_scale": parameters["guidance_scale"],
        "steps": parameters["num_inference_steps"],
        "batch_size": count,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": job.model,
        "sd_model_hash": None,
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": parameters.get("strength"),
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": texts,
        "styles": (parameters.get("expanded_from") or {}).get("styles", []),
        "job_timestamp": a1111_timestamp(job.created_at),
        "clip_skip": 1,
        "is_using_inpainting_conditioning": False,
        "version": "imagefarm",
        "job_id": job.id,
        "task_id": wanted.force_task_id,
        "warnings": [*job.warnings, *warnings],
        "notice": notice_of(job.model),
    }


def a1111_timestamp(seconds: float) -> str:
    """Format a time as A1111 does: 20261123081530."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d%H%M%S")
