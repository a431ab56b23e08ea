"""Encode a rendered image with its metadata, write it atomically, and describe the stored file."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

from core.catalogue import load_catalogue
from core.errors import RenderError
from core.imagefile import ImageMetadata, encode_png
from core.render import RenderRequest
from core.storage import LocalImageStore, image_key
from core.version import VERSION
from db.jobs.succeed import StoredImage
from worker.engine.messages import Rendered
from worker.runner.attempts import RunningAttempt, image_index_of


class ImageWriter:
    """Write images under keys that contain job, attempt and index, so that no two attempts share a file."""

    def __init__(self, store: LocalImageStore) -> None:
        self._store = store

    def write(self, attempt: RunningAttempt, request: RenderRequest, rendered: Rendered) -> StoredImage:
        """Encode and store one image. Raises RenderError `storage_unavailable` when the store does not take the file."""
        index = image_index_of(rendered.request_id)
        metadata = _metadata(attempt, request, rendered, index)
        data = encode_png(rendered.pixels, rendered.width, rendered.height, metadata)
        stored = self._store.put(image_key(attempt.job.id, attempt.job.attempt, index), data)
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


def _metadata(attempt: RunningAttempt, request: RenderRequest, rendered: Rendered, index: int) -> ImageMetadata:
    return ImageMetadata(
        job_id=attempt.job.id,
        attempt=attempt.job.attempt,
        index=index,
        model=attempt.job.model,
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
        scheduler=rendered.record.versions.get("scheduler"),
        weights_revision=rendered.record.versions.get("weights_revision"),
        farm_version=VERSION,
        random_weights=load_catalogue().get(attempt.job.model).built_locally,
        loras=request.loras,
    )
