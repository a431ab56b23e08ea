"""Convert a finished job to A1111's response."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from api.dependencies import json_response
from api.farm import Farm
from api.threads import in_thread
from api.views.images import notice_of
from core.imagefile import read_metadata
from core.schemas.a1111 import ImagesAnswer, Txt2Img
from core.storage import LocalImageStore
from db.jobs.read import Snapshot


async def images_response(farm: Farm, snapshot: Snapshot, wanted: Txt2Img, warnings: list[str]) -> Response:
    """Return the images as base64, the parameters as sent, and the effective ones as JSON in a string."""
    async with farm.decoding:
        return await in_thread(_images_response, farm.store, snapshot, wanted, warnings)


def _images_response(store: LocalImageStore, snapshot: Snapshot, wanted: Txt2Img, warnings: list[str]) -> Response:
    """Build the response on a thread: decoding, base64 and JSON of many megabytes would stall the event loop."""
    sent, texts = [], []
    for image in snapshot.images:
        data = store.read(image.key)
        texts.append(read_metadata(data).parameters_text or "")
        if wanted.send_images is not False:
            sent.append(base64.b64encode(data).decode())
    return json_response(
        ImagesAnswer(
            images=sent,
            parameters=wanted.model_dump(mode="json", exclude={"init_images", "mask"}),
            info=json.dumps(_info(snapshot, wanted, texts, warnings)),
        )
    )


def _info(snapshot: Snapshot, wanted: Txt2Img, texts: list[str], warnings: list[str]) -> dict[str, Any]:
    job, count = snapshot.job, len(snapshot.images)
    parameters = job.input
    seeds = [image.seed for image in snapshot.images]
    return {
        "prompt": parameters["prompt"],
        "all_prompts": [parameters["prompt"]] * count,
        "negative_prompt": parameters.get("negative_prompt", ""),
        "all_negative_prompts": [parameters.get("negative_prompt", "")] * count,
        "seed": parameters["seed"],
        "all_seeds": seeds,
        "subseed": parameters["seed"],
        "all_subseeds": seeds,
        "subseed_strength": 0,
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
        "styles": [],
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
