"""The worker's part of an upscale job: its source and the request to the engine."""

from __future__ import annotations

from core.errors import NotFound, RenderError, Unavailable
from core.render import LoraRequest, NoiseSource, RenderRequest, UpscalePart
from core.settings import Settings
from core.storage import ImageStore
from db.tables import Job
from worker.runner.attempts import RunningAttempt


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


def clear_spool(part: UpscalePart) -> None:
    """Delete the files of this attempt. One that is still open in an engine is gone once the engine closes it."""
    part.output.unlink(missing_ok=True)
    part.reduced_output.unlink(missing_ok=True)


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
