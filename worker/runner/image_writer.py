"""Write the images of an attempt into the store, each with its metadata."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.catalogue import load_catalogue
from core.comfyui import png_texts
from core.errors import RenderError
from core.imagefile import ImageMetadata, encode_png
from core.imagefile.png_file import with_metadata
from core.render import RenderRequest, UpscalePart
from core.storage import ImageStore, image_key
from core.version import VERSION
from db.jobs.succeed import StoredImage
from worker.engine.messages import Rendered
from worker.runner.attempts import RunningAttempt, image_index_of

_BUILT_LOCALLY = frozenset(model.id for model in load_catalogue() if model.built_locally)
"""Only shipped models have random weights; rows of users never do."""


class ImageWriter:
    """Write images under keys that contain job, attempt and index, so that no two attempts share a file."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store

    def write(self, attempt: RunningAttempt, request: RenderRequest, rendered: Rendered) -> StoredImage:
        """Store one image: encoded pixels, or the file that the engine enlarged into.

        Raises RenderError `storage_unavailable` when the store does not take the file.
        """
        index = image_index_of(rendered.request_id)
        key = image_key(attempt.job.id, attempt.job.attempt, index)
        metadata, requested = _metadata(attempt, request, rendered, index), attempt.job.requested or {}
        texts = png_texts.texts_of(requested) if png_texts.FIELD in requested else {}
        if request.upscale is None:
            stored = self._store.put(key, encode_png(rendered.pixels, rendered.width, rendered.height, metadata, texts))
        else:
            stored = self._store.put_blocks(key, with_metadata(request.upscale.output, metadata, texts))
            self._store.put_reduced(key, _reduced(request.upscale.reduced_output))
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

    def check(self) -> None:
        """Raise RenderError `storage_unavailable` unless the store takes a file of an image's size."""
        self._store.check_writable()

    def discard(self, images: list[StoredImage]) -> None:
        """Delete files whose rows will never be written; retention deletes those that cannot be deleted now."""
        for image in images:
            with suppress(RenderError):
                self._store.delete(image.key)


def _reduced(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise RenderError(f"The spool cannot be read: {error.strerror}.", code="storage_unavailable") from error


def _metadata(attempt: RunningAttempt, request: RenderRequest, rendered: Rendered, index: int) -> ImageMetadata:
    parent: dict[str, Any] = attempt.job.input.get("parent") or {}
    return ImageMetadata(
        job_id=attempt.job.id,
        attempt=attempt.job.attempt,
        index=index,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        seed=request.seed,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        width=rendered.width,
        height=rendered.height,
        strength=request.strength,
        start_sigma=request.start_sigma,
        created_at=datetime.now(UTC),
        record=rendered.record,
        farm_version=VERSION,
        loras=request.loras,
        variation_seed=request.variation_seed,
        variation_strength=request.variation_strength or None,
        coherent=request.coherent,
        parent=parent.get("image"),
        **(_rendered_by(attempt, rendered) if request.upscale is None else _enlarged_by(request.upscale, parent)),
    )


def _rendered_by(attempt: RunningAttempt, rendered: Rendered) -> dict[str, Any]:
    versions = rendered.record.versions
    return {
        "model": attempt.job.model,
        "scheduler": versions.get("scheduler"),
        "weights_revision": versions.get("weights_revision"),
        "random_weights": attempt.job.model in _BUILT_LOCALLY,
        "upscaler": attempt.job.input.get("upscaler"),
    }


def _enlarged_by(part: UpscalePart, parent: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the model that rendered the parent, and of the upscaler."""
    model = str(parent.get("model", ""))
    return {
        "model": model,
        "scheduler": parent.get("scheduler"),
        "weights_revision": parent.get("weights_revision"),
        "random_weights": model in _BUILT_LOCALLY,
        "upscaler": part.upscaler,
        "upscale": part.scale,
    }
