"""Submit the job that made an image again, and say what has changed since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from api.caller import Caller
from api.expanded_texts import ExpandedTexts
from api.farm import Farm
from api.overview import Overview
from api.submission import commit_job, prepare_job
from api.threads import in_thread
from api.uploads import StartImages, find_start_images
from api.views.jobs import public_input
from core.catalogue.loras import LoraFile, LoraLibrary, usable
from core.errors import Conflict, Gone, InvalidInput
from core.lifecycle import JobKind
from core.parameters.seeds import input_of_image
from core.schemas.jobs import JobRequest, RenderFields
from db.images import get_image
from db.jobs.read import get_job
from db.jobs.submit import Submitted
from db.tables import Image, Job, Worker

LABEL = "rerun_of"
"""Label of the new job: the id of the image."""
_EXPANDED = frozenset({"preset", "recipe", "styles", "dynamic"})
"""Fields whose effect is already part of the other stored ones."""
_CHOSEN_AT_LOAD = ("dtype", "memory_policy", "attention_backend")
_WEIGHTS = frozenset({"scheduler", "weights_revision"})
_NOT_IF_STRICT = frozenset({"attention_backend", "compiled_blocks", "compile_mode", "projections"})
"""Choices of the engine that strict jobs do without."""
_SHOWN = {
    "dtype": "The number format",
    "memory_policy": "The memory tier",
    "attention_backend": "The attention backend",
    "weights_revision": "The weights' revision",
    "cpu_threads": "The number of CPU threads",
}


async def rerun_image(farm: Farm, caller: Caller, image_id: str) -> Submitted:
    """Submit the job of this image with the image's own seed. Raises NotFound, Gone, and the errors of a submit."""
    image = await in_thread(get_image, farm.database, image_id, caller.visible_owner)
    job = await in_thread(get_job, farm.database, image.job_id)
    if job.kind != JobKind.RENDER or "num_inference_steps" not in job.input:
        raise Conflict("This image was not rendered from a prompt, so it cannot be rendered again.", code="not_rerunnable")
    wanted = input_of_image(job.input, image.index)
    request = _request(wanted, job, image)
    overview = await farm.overview.get()
    start = await _start_images(farm, caller, request)
    loras = await in_thread(farm.loras.files) if request.loras else ()
    # The other faces take empty prompts.
    new = prepare_job(farm, caller, request, overview, start, loras, ExpandedTexts(request), empty_prompt=True)
    differences = [*await _lora_differences(farm, job, image, loras), *_differences(job, image, overview)]
    warnings = list(dict.fromkeys([*new.warnings, *differences]))
    return await commit_job(farm, caller, replace(new, prompt=wanted["prompt"], input=wanted, warnings=warnings))


def _request(wanted: Mapping[str, Any], job: Job, image: Image) -> JobRequest:
    """Return a request that the stored input would come from; it is checked like any other."""
    fields = {name: value for name, value in public_input(dict(wanted)).items() if name in RenderFields.model_fields}
    given = {name: value for name, value in fields.items() if name not in _EXPANDED}
    return JobRequest.model_validate(given | {"model": job.model, "priority": job.priority, "metadata": {LABEL: image.id}})


async def _start_images(farm: Farm, caller: Caller, request: JobRequest) -> StartImages:
    try:
        return await find_start_images(farm, caller, request)
    except InvalidInput as error:
        if error.code != "upload_not_found":
            raise
        what = "mask" if error.field == "mask" else "image that it started from"
        raise Gone(f"This image cannot be rendered again: the {what} was deleted.", code="upload_gone") from None


def _differences(job: Job, image: Image, overview: Overview) -> Iterator[str]:
    """Yield in sentences why the bits may differ."""
    strict = bool(job.input.get("strict"))
    if not strict:
        shared = max(image.record.get("batch_sizes") or [1])
        then = f"shared micro-batches of up to {shared} images" if shared > 1 else "rendered alone"
        yield f"The job is not strict: this image {then}, and other images beside it may change bits."
    workers = overview.serving(job.model)
    if not workers:
        yield f"No worker serves {job.model} now, so what it will be rendered with could not be compared."
    for worker in workers:
        prefix = f"On worker {worker.name}: " if len(workers) > 1 else ""
        yield from (prefix + text for text in _differences_on(worker, job.model, image.record, strict=strict))


def _differences_on(worker: Worker, model: str, record: Mapping[str, Any], *, strict: bool) -> Iterator[str]:
    info = worker.info
    then, now = dict(record.get("versions") or {}), dict(info.get("versions") or {})
    then["The device"], now["The device"] = record.get("device"), info.get("device_name")
    loaded = info.get("model") == model
    skipped = _NOT_IF_STRICT if strict else frozenset[str]()
    if loaded:
        then |= {name: record.get(name) for name in _CHOSEN_AT_LOAD}
        now |= {name: info.get(name) for name in _CHOSEN_AT_LOAD}
    elif info:
        skipped |= _WEIGHTS
        yield f"{model} is not loaded on the worker now, so number format, memory tier and weights could not be compared."
    for name in sorted(then.keys() & now.keys() - skipped):
        if then[name] and now[name] and then[name] != now[name]:
            yield f"{_SHOWN.get(name, name)} was {then[name]} then and is {now[name]} now: bits may differ."


async def _lora_differences(farm: Farm, job: Job, image: Image, files: Sequence[LoraFile]) -> list[str]:
    """Return which LoRA files have changed since; they are read as a whole the first time."""
    recorded: Mapping[str, str] = image.record.get("lora_hashes") or {}
    if not recorded:
        return []
    known = usable(files, farm.catalogue.get(job.model))
    async with farm.hashing:
        now = {name: await in_thread(_hash, farm.loras, known[name]) for name in recorded if name in known}
    return [
        f"The LoRA '{name}' has other weights than then ({recorded[name]}, now {found}): the image will differ."
        for name, found in now.items()
        if found not in (None, recorded[name])
    ]


def _hash(library: LoraLibrary, file: LoraFile) -> str | None:
    with suppress(OSError):
        return library.hashes(file).short
    return None
