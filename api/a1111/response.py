"""Convert a finished job to A1111's response."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

from api.farm import Farm
from api.views.images import notice_of
from core.imagefile import read_metadata
from core.schemas.a1111 import ImagesAnswer, Txt2Img
from db.jobs.read import Snapshot


async def images_response(farm: Farm, snapshot: Snapshot, wanted: Txt2Img, warnings: list[str]) -> ImagesAnswer:
    """Pictures as base64, what was asked for, and what was done as JSON in a string."""
    files = [await farm.pictures.file(image.key) for image in snapshot.images]
    sent = [base64.b64encode(data).decode() for data in files] if wanted.send_images is not False else []
    texts = [read_metadata(data).parameters_text or "" for data in files]
    return ImagesAnswer(
        images=sent, parameters=_parameters(wanted), info=json.dumps(_info(snapshot, wanted, texts, warnings))
    )


def _parameters(wanted: Txt2Img) -> dict[str, Any]:
    """What was sent, without the pictures in it."""
    return wanted.model_dump(mode="json", exclude={"init_images", "mask"})


def _info(snapshot: Snapshot, wanted: Txt2Img, texts: list[str], warnings: list[str]) -> dict[str, Any]:
    job, count = snapshot.job, len(snapshot.images)
    given = job.input
    seeds = [image.seed for image in snapshot.images]
    return {
        "prompt": given["prompt"],
        "all_prompts": [given["prompt"]] * count,
        "negative_prompt": given.get("negative_prompt", ""),
        "all_negative_prompts": [given.get("negative_prompt", "")] * count,
        "seed": given["seed"],
        "all_seeds": seeds,
        "subseed": given["seed"],
        "all_subseeds": seeds,
        "subseed_strength": 0,
        "width": given["width"],
        "height": given["height"],
        "sampler_name": "Euler",
        "cfg_scale": given["guidance_scale"],
        "steps": given["num_inference_steps"],
        "batch_size": count,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": job.model,
        "sd_model_hash": None,
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": given.get("strength"),
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
    """As A1111 writes times: 20261123081530."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d%H%M%S")
