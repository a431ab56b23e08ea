"""Convert finished jobs to A1111's response."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

from PIL import Image
from starlette.responses import Response

from api.a1111.fitting import Fitted
from api.a1111.pictures import PasteBack
from api.dependencies import json_response
from api.farm import Farm
from api.threads import in_thread
from api.views.jobs import notice_of
from core.imagefile import ImageMetadata, encode, open_rgb, read_metadata
from core.lifecycle import JobStatus
from core.parameters.seeds import input_of_image, seeds_of
from core.schemas.a1111 import A1111Images, Txt2Img
from core.storage import ImageStore
from db.jobs.read import Snapshot
from db.tables import Job

_MAX_PREVIEW_PIXELS = 4096 * 4096


INTERRUPTED = "Interrupted: the images are the last previews before the interruption."


@dataclass(frozen=True)
class Finishing:
    """What is done to each image before it is sent: cut to a size, or pasted back into the original.

    `shown`: further settings for `extra_generation_params`.
    """

    cut: Fitted | None = None
    paste_back: PasteBack | None = None
    shown: Mapping[str, Any] = field(default_factory=dict)

    def apply(self, image: Image.Image) -> Image.Image:
        """Return the image as the client asked for it."""
        if self.paste_back is not None:
            return self.paste_back.apply(image)
        cut = self.cut
        if cut is None or image.size != (cut.width, cut.height):
            return image
        left, top = (cut.width - cut.cut_width) // 2, (cut.height - cut.cut_height) // 2
        return image.crop((left, top, left + cut.cut_width, top + cut.cut_height))

    @property
    def changes(self) -> bool:
        """Whether images are sent in another form than they are stored."""
        return self.cut is not None or self.paste_back is not None


@dataclass(frozen=True)
class _Sent:
    """One image of the response, with its own parameters."""

    job: Job
    index: int
    data: bytes


async def images_response(
    farm: Farm,
    snapshots: Sequence[Snapshot],
    wanted: Txt2Img,
    warnings: Sequence[str],
    finishing: Finishing,
    *,
    before: Sequence[Snapshot] = (),
) -> Response:
    """Return the images as base64, the parameters as sent, and the effective ones as JSON in a string.

    Of a canceled job the last preview of each image is sent, at full size, and `info` has `interrupted`; without one, the
    image of the first pass in `before`.
    """
    previews: dict[tuple[str, int], bytes] = {}
    earlier = [image for snapshot in before for image in snapshot.images]
    for number, snapshot in enumerate(snapshots):
        if snapshot.job.status != JobStatus.CANCELED:
            continue
        for index in range(int(snapshot.job.input.get("num_images", 1))):
            found = await farm.watcher.preview_of(snapshot.job.id, index)
            if found is None and number < len(earlier):
                found = await farm.image_variants.file(earlier[number].key)
            if found is not None:
                previews[snapshot.job.id, index] = found
    async with farm.decoding:
        return await in_thread(_images_response, farm.store, snapshots, previews, wanted, warnings, finishing)


def _images_response(
    store: ImageStore,
    snapshots: Sequence[Snapshot],
    previews: Mapping[tuple[str, int], bytes],
    wanted: Txt2Img,
    warnings: Sequence[str],
    finishing: Finishing,
) -> Response:
    """Build the response on a thread: decoding, base64 and JSON of many megabytes would stall the event loop."""
    sent: list[_Sent] = []
    for snapshot in snapshots:
        job = snapshot.job
        sent += [_Sent(job, image.index, _finished(store.read(image.key), finishing)) for image in snapshot.images]
        for (job_id, index), preview in previews.items():
            if job_id == job.id:
                sent.append(_Sent(job, index, _finished(_enlarged(job, index, preview), finishing)))
    interrupted = any(snapshot.job.status == JobStatus.CANCELED for snapshot in snapshots)
    said = [INTERRUPTED, *warnings] if interrupted else warnings
    texts = [read_metadata(each.data).parameters_text or "" for each in sent]
    info = _info(snapshots[0].job, sent, wanted, texts, said, finishing) | {"interrupted": interrupted}
    without = {"mask"} | (set() if getattr(wanted, "include_init_images", False) else {"init_images"})
    return json_response(
        A1111Images(
            images=[] if wanted.send_images is False else [base64.b64encode(each.data).decode() for each in sent],
            parameters=wanted.model_dump(mode="json", exclude=without),
            info=json.dumps(info),
        )
    )


def _finished(data: bytes, finishing: Finishing) -> bytes:
    """Return a stored file as the client asked for it, with its metadata."""
    if not finishing.changes:
        return data
    image = finishing.apply(open_rgb(data, max_pixels=_MAX_PREVIEW_PIXELS))
    metadata = read_metadata(data).imagefarm
    if metadata is not None:
        return encode(image, metadata)
    file = BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _enlarged(job: Job, index: int, preview: bytes) -> bytes:
    """Return a preview as a PNG of the requested size, with the settings that its job had."""
    values = input_of_image(job.input, index)
    image = open_rgb(preview, max_pixels=_MAX_PREVIEW_PIXELS)
    metadata = ImageMetadata(
        prompt=values["prompt"],
        negative_prompt=values.get("negative_prompt") or "",
        **seeds_of(job.input, index),
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


def _info(
    job: Job,
    sent: Sequence[_Sent],
    wanted: Txt2Img,
    texts: Sequence[str],
    warnings: Sequence[str],
    finishing: Finishing,
) -> dict[str, Any]:
    parameters = job.input
    each = [input_of_image(image.job.input, image.index) for image in sent]
    cut = finishing.cut
    return {
        "prompt": parameters["prompt"],
        "all_prompts": [values["prompt"] for values in each],
        "negative_prompt": parameters.get("negative_prompt", ""),
        "all_negative_prompts": [values.get("negative_prompt", "") for values in each],
        "seed": parameters["seed"],
        "all_seeds": [values["seed"] for values in each],
        "subseed": parameters.get("variation_seed", parameters["seed"]),
        "all_subseeds": [values.get("variation_seed", values["seed"]) for values in each],
        "subseed_strength": parameters.get("variation_strength", 0),
        "width": cut.cut_width if cut else parameters["width"],
        "height": cut.cut_height if cut else parameters["height"],
        "sampler_name": "Euler",
        "cfg_scale": parameters["guidance_scale"],
        "steps": parameters["num_inference_steps"],
        "batch_size": len(sent),
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": job.model,
        "sd_model_hash": "",
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": parameters.get("strength"),
        "extra_generation_params": dict(finishing.shown),
        "index_of_first_image": 0,
        "infotexts": list(texts),
        "styles": list((parameters.get("expanded_from") or {}).get("styles", [])),
        "job_timestamp": a1111_timestamp(job.created_at),
        "clip_skip": 1,
        "is_using_inpainting_conditioning": False,
        "version": "imagefarm",
        "job_id": job.id,
        "task_id": wanted.force_task_id,
        "warnings": [*dict.fromkeys([*job.warnings, *(text for image in sent for text in image.job.warnings), *warnings])],
        "notice": notice_of(job.model),
    }


def a1111_timestamp(seconds: float) -> str:
    """Format a time as A1111 does: 20261123081530."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d%H%M%S")
