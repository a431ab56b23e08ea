"""Turn a request to enlarge images into queued jobs; list the upscalers that live workers have."""

from __future__ import annotations

from typing import Any, cast

from api.batches import commit_batch
from api.caller import Caller
from api.farm import Farm
from api.overview import Overview
from api.submission import (
    IdempotencyKey,
    accept_job,
    check_webhook,
    max_queued,
    with_encrypted_secret,
)
from api.threads import in_thread
from api.uploads import find_upload
from core.catalogue.upscalers import DEFAULT, Upscaler, Upscalers, list_upscalers
from core.errors import Conflict, Gone, InvalidInput, NotFound
from core.ids import is_id
from core.lifecycle import JobKind
from core.parameters import InvalidParameters
from core.parameters.parameters import Findings
from core.parameters.seeds import input_of_image
from core.queue import UPSCALE
from core.schemas.upscales import Upscaler as UpscalerAnswer
from core.schemas.upscales import UpscaleRequest, UpscalerList
from db.batches import SubmittedBatch
from db.images import get_image
from db.jobs.read import get_job
from db.jobs.submit import NewJob, Submitted
from db.tables import Image, Job, Upload

_CARRIED = (
    *("prompt", "negative_prompt", "num_inference_steps", "guidance_scale", "strength", "start_sigma", "loras"),
    *("variation_seed", "variation_strength", "coherent"),
)
"""What an enlarged image's input says about how its parent was rendered."""


def upscalers_of(farm: Farm, overview: Overview) -> tuple[Upscalers, dict[str, list[str]]]:
    """Return the upscalers that live workers or this machine know, and id -> the live workers that have its weights."""
    known = {row.id: row for row in list_upscalers(farm.settings.upscaler_dirs)}
    workers: dict[str, list[str]] = {name: [] for name in known}
    for worker in overview.serving(UPSCALE):
        for name, about in cast("dict[str, dict[str, Any]]", worker.info.get("upscalers", {})).items():
            known.setdefault(name, Upscaler(id=name, **about))
            workers.setdefault(name, []).append(worker.name)
    return Upscalers(sorted(known.values(), key=lambda row: row.id != DEFAULT)), workers


async def list_of(farm: Farm) -> UpscalerList:
    """Return the list of upscalers as the API shows it."""
    overview = await farm.overview.get()
    upscalers, workers = await in_thread(upscalers_of, farm, overview)
    return UpscalerList(
        items=[
            UpscalerAnswer(
                **row.model_dump(include={"id", "title", "about", "licence", "origin"}),
                scales=list(row.scales),
                installed=bool(workers[row.id]) or row.is_installed,
                default=row.id == DEFAULT,
                workers=workers[row.id],
            )
            for row in upscalers
        ],
        max_pixels=farm.settings.max_upscale_pixels,
    )


async def submit_upscale(farm: Farm, caller: Caller, request: UpscaleRequest, key: IdempotencyKey | None) -> Submitted:
    """Commit the job of one image and publish its hint; raise the errors of the request."""

    async def prepare() -> NewJob:
        overview = await farm.overview.get()
        kind, source_id = ("image", request.image) if request.image else ("upload", request.upload or "")
        upscaler = await in_thread(chosen_upscaler, farm, request, overview)
        return await in_thread(_prepare, farm, caller, request, overview, upscaler, kind, source_id)

    return await accept_job(farm, caller, key, prepare)


async def accept_upscale_batch(
    farm: Farm, caller: Caller, request: UpscaleRequest, key: IdempotencyKey | None
) -> SubmittedBatch:
    """Submit the jobs of all images or none, and publish their hints."""
    overview = await farm.overview.get()
    jobs = await in_thread(_batch_jobs, farm, caller, request, overview)
    return await commit_batch(farm, caller, jobs, request.as_sent(), request.name, key)


def _batch_jobs(
    farm: Farm, caller: Caller, request: UpscaleRequest, overview: Overview
) -> list[tuple[NewJob, dict[str, Any]]]:
    sources = [("image", each) for each in request.images] + [("upload", each) for each in request.uploads]
    if len(sources) > (limit := farm.settings.max_jobs_per_batch):
        raise InvalidParameters([("images", f"the batch has {len(sources)} jobs; send at most {limit} in a batch.")])
    upscaler = chosen_upscaler(farm, request, overview)
    jobs: list[tuple[NewJob, dict[str, Any]]] = []
    for index, (kind, source_id) in enumerate(sources):
        try:
            jobs.append((_prepare(farm, caller, request, overview, upscaler, kind, source_id), {kind: source_id}))
        except InvalidInput as error:
            raise InvalidInput(f"Image {index} ({source_id}): {error.message}", field=error.field, code=error.code) from None
    return jobs


def _prepare(
    farm: Farm,
    caller: Caller,
    request: UpscaleRequest,
    overview: Overview,
    upscaler: Upscaler,
    kind: str,
    source_id: str,
) -> NewJob:
    """Return the job as it will be stored; raise the errors of the request."""
    if request.webhook is not None:
        check_webhook(farm, request.webhook)
    found = _image(farm, caller, source_id) if kind == "image" else _upload(farm, caller, source_id)
    sent = {name: value for name, value in request.as_sent().items() if name not in ("images", "uploads", "name")}
    return upscale_job(farm, caller, request, overview, upscaler, found, sent | {kind: source_id})


def upscale_job(
    farm: Farm,
    caller: Caller,
    request: UpscaleRequest,
    overview: Overview,
    upscaler: Upscaler,
    found: dict[str, Any],
    requested: dict[str, Any],
) -> NewJob:
    """Return the job that enlarges a source; `found` is the input of its image or upload. Raises InvalidParameters."""
    width, height = found["source"]["width"] * request.scale, found["source"]["height"] * request.scale
    if width * height > (limit := farm.settings.max_upscale_pixels):
        raise InvalidParameters(
            [("scale", f"the result would be {width}x{height}, {width * height} pixels; this farm makes at most {limit}.")]
        )
    return NewJob(
        kind=JobKind.UPSCALE,
        owner=caller.owner,
        client_label=caller.label,
        model=UPSCALE,
        prompt=found.get("prompt", ""),
        input=found | {"upscaler": upscaler.id, "scale": request.scale, "width": width, "height": height, "num_images": 1},
        requested=with_encrypted_secret(farm, requested),
        priority=request.priority,
        max_attempts=farm.settings.max_attempts,
        deadline_seconds=request.deadline_seconds,
        window=overview.window(UPSCALE),
        max_queued=max_queued(caller, farm.settings.max_queued_per_owner),
    )


def chosen_upscaler(farm: Farm, request: UpscaleRequest, overview: Overview) -> Upscaler:
    """Return the upscaler; raise InvalidInput for an unknown one or its scale, Conflict when no worker has it."""
    upscalers, workers = upscalers_of(farm, overview)
    upscaler = upscalers.get(request.upscaler or DEFAULT)
    findings = Findings()
    if request.scale not in upscaler.scales:
        able = ", ".join(map(str, upscaler.scales))
        findings.add("scale", f"{request.scale} is not a factor of {upscaler.id}: send one of {able}.")
    findings.raise_if_any()
    if not overview.serving(UPSCALE):
        if not farm.settings.upscale_workers and not overview.was_serving(UPSCALE):
            raise Conflict(
                "No worker of this farm enlarges images. Start one with `imagefarm worker --model upscale`.",
                code="upscaler_not_served",
            )
        if not upscaler.is_installed and not _was_reported(upscaler.id, overview):
            raise Conflict(
                f"The weights of {upscaler.id} are not installed on this machine, and no worker has reported them. Install "
                "them, or send another upscaler.",
                code="upscaler_not_served",
            )
    elif not workers[upscaler.id] and not upscaler.is_installed:  # A file may have come after the worker's start.
        others = ", ".join(name for name, names in workers.items() if names)
        raise Conflict(
            f"No live worker has the weights of {upscaler.id}. Install them on its machine, or send another upscaler: "
            f"{others}.",
            code="upscaler_not_served",
        )
    return upscaler


def _was_reported(name: str, overview: Overview) -> bool:
    """Return whether a worker that may start again had the weights."""
    return any(name in worker.info.get("upscalers", {}) for worker in overview.workers if worker.model == UPSCALE)


def _image(farm: Farm, caller: Caller, image_id: str) -> dict[str, Any]:
    """Return the input of a job that starts from an image of the caller's."""
    try:
        if not is_id(image_id):
            raise NotFound("There is no such image.")
        image = get_image(farm.database, image_id, caller.visible_owner)
        parent_job = get_job(farm.database, image.job_id)
        farm.store.open(image.key).close()
    except (NotFound, Gone):
        raise InvalidInput(
            "There is no image with this id, or it was deleted: send the id of one of your images.",
            field="image",
            code="image_not_found",
        ) from None
    return image_input(image, parent_job)


def image_input(image: Image, parent_job: Job) -> dict[str, Any]:
    """Return the input of a job that enlarges an image, which `parent_job` has made."""
    given = input_of_image(parent_job.input, image.index)
    versions = image.record.get("versions", {})
    carried = parent_job.input.get("parent") if parent_job.kind == JobKind.UPSCALE else None
    earlier = carried or {"model": parent_job.model} | {
        name: versions[name] for name in ("scheduler", "weights_revision") if name in versions
    }
    return {
        **{name: given[name] for name in _CARRIED if name in given},
        "seed": image.seed,
        "parent": {name: value for name, value in earlier.items() if name != "upload"} | {"image": image.id},
        "source": _source("images", image.key, image.width, image.height, image.sha256),
    }


def upload_input(upload: Upload) -> dict[str, Any]:
    """Return the input of a job that enlarges an upload."""
    return {
        "seed": 0,
        "parent": {"upload": upload.id},
        "source": _source("uploads", upload.key, upload.width, upload.height, upload.sha256),
    }


def _upload(farm: Farm, caller: Caller, upload_id: str) -> dict[str, Any]:
    """Return the input of a job that starts from an upload of the caller's."""
    return upload_input(find_upload(farm, caller, upload_id, "upload"))


def _source(store: str, key: str, width: int, height: int, sha256: str) -> dict[str, Any]:
    return {"store": store, "key": key, "width": width, "height": height, "sha256": sha256}
