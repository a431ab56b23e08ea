"""The worker's part of an upscale job: its source, the request to the engine, and the store of its result."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.catalogue import load_catalogue
from core.comfyui.texts import texts_of
from core.errors import NotFound, RenderError, Unavailable
from core.imagefile.metadata import ImageMetadata
from core.imagefile.png_file import with_metadata
from core.render import LoraRequest, NoiseSource, RenderRequest, UpscalePart
from core.settings import Settings
from core.storage import ImageStore, image_key
from core.version import VERSION
from db.jobs.succeed import StoredImage
from db.tables import Job
from worker.engine.messages import Rendered
from worker.runner.attempts import RunningAttempt, image_index_of


def upscale_request(attempt: RunningAttempt, settings: Settings) -> RenderRequest:
    """Return the engine's request of an upscale job; its prompt, seed and settings are those of the image's parent."""
    given = attempt.job.input
    part = UpscalePart(
        upscaler=given["upscaler"],
        scale=int(given["scale"]),
        output=settings.spool_dir / f"{attempt.job.id}.{attempt.job.attempt}.png",
    )
    return RenderRequest(
        id=attempt.request_id(0),
        prompt=given.get("prompt", ""),
        negative_prompt=given.get("negative_prompt", ""),
        width=int(given["width"]),
        height=int(given["height"]),
        num_inference_steps=int(given.get("num_inference_steps", 0)),
        guidance_scale=float(given.get("guidance_scale", 1.0)),
        seed=int(given["seed"]),
        strength=given.get("strength"),
        start_sigma=given.get("start_sigma"),
        loras=tuple(LoraRequest.model_validate(lora) for lora in given.get("loras", ())),
        variation_seed=given.get("variation_seed"),
        variation_strength=float(given.get("variation_strength") or 0.0),
        coherent=NoiseSource.model_validate(given["coherent"]) if given.get("coherent") else None,
        upscale=part,
    )


def clear_spool(request: RenderRequest) -> None:
    """Delete the files of this attempt. One that is still open in an engine is gone once the engine closes it."""
    if request.upscale is not None:
        request.upscale.output.unlink(missing_ok=True)
        request.upscale.reduced_output.unlink(missing_ok=True)


def clear_earlier_attempts(attempt: RunningAttempt, settings: Settings) -> None:
    """Delete what earlier attempts left, whose worker or engine was killed."""
    for file in settings.spool_dir.glob(f"{attempt.job.id}.*.*"):
        number = file.name.split(".")[1]
        if number.isdecimal() and int(number) < attempt.job.attempt:
            file.unlink(missing_ok=True)


class SourceReader:
    """Reads the image that an upscale job enlarges; its key was chosen by the API, never by a user."""

    def __init__(self, images: ImageStore, uploads: ImageStore) -> None:
        self._stores = {"images": images, "uploads": uploads}

    def read_for(self, job: Job) -> bytes:
        """Return the encoded image. Raises RenderError when it cannot be read."""
        source = job.input["source"]
        store = self._stores[source["store"]]
        try:
            return store.read(source["key"])
        except NotFound as error:
            if not store.is_there():
                raise RenderError(f"The store of {source['store']} is not there.", code="storage_unavailable") from error
            raise RenderError("The image that this job enlarges no longer exists.", code="invalid_input") from error
        except Unavailable as error:
            raise RenderError(error.message, code="storage_unavailable") from error


def store_enlarged(store: ImageStore, attempt: RunningAttempt, request: RenderRequest, rendered: Rendered) -> StoredImage:
    """Move the engine's file into the store, with metadata. Raises RenderError `storage_unavailable`."""
    part = request.upscale
    assert part is not None  # noqa: S101 - the caller has looked
    index = image_index_of(rendered.request_id)
    key = image_key(attempt.job.id, attempt.job.attempt, index)
    stored = store.put_blocks(
        key, with_metadata(part.output, _metadata(attempt, request, rendered), texts_of(attempt.job.requested))
    )
    store.put_reduced(key, _reduced(part.reduced_output))
    return StoredImage(
        index=index,
        key=stored.key,
        width=rendered.width,
        height=rendered.height,
        seed=request.seed,
        format="png",
        bytes=stored.bytes,
        sha256=stored.sha256,
        record=rendered.record.model_dump(mode="json") | {"timings": rendered.timings.model_dump(mode="json")},
    )


def _reduced(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise RenderError(f"The spool cannot be read: {error.strerror}.", code="storage_unavailable") from error


def _metadata(attempt: RunningAttempt, request: RenderRequest, rendered: Rendered) -> ImageMetadata:
    part = request.upscale
    assert part is not None  # noqa: S101 - the caller has looked
    parent: dict[str, Any] = attempt.job.input["parent"]
    model = str(parent.get("model", ""))
    row = next((each for each in load_catalogue() if each.id == model), None)
    return ImageMetadata(
        job_id=attempt.job.id,
        attempt=attempt.job.attempt,
        index=image_index_of(rendered.request_id),
        model=model,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        seed=request.seed,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        width=rendered.width,
        height=rendered.height,
        strength=request.strength,
        start_sigma=request.start_sigma,
        loras=request.loras,
        variation_seed=request.variation_seed,
        variation_strength=request.variation_strength or None,
        coherent=request.coherent,
        parent=parent.get("image"),
        upscaler=part.upscaler,
        upscale=part.scale,
        created_at=datetime.now(UTC),
        record=rendered.record,
        scheduler=parent.get("scheduler"),
        weights_revision=parent.get("weights_revision"),
        farm_version=VERSION,
        random_weights=row is not None and row.built_locally,
    )
