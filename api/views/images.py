"""Conversion of an image's row to the API's shape."""

from __future__ import annotations

from typing import Any

from api.public_address import link
from core.catalogue import load_catalogue, noise_notice
from core.schemas.base import iso
from core.schemas.images import Image as ImageAnswer
from db.tables import Image, Job


def public_input(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters without the storage keys of files."""
    shown = {name: value for name, value in stored.items() if name != "init_image"}
    if (init := stored.get("init_image")) is not None:
        shown["init_image"] = init["upload_id"]
    return shown


def notice_of(model_id: str) -> str | None:
    """Return the notice to show with every image of this model, if any."""
    model = next((row for row in load_catalogue() if row.id == model_id), None)
    return (noise_notice(model) or None) if model is not None else None


def image_urls(image_id: str) -> dict[str, str]:
    """Return the URLs of the metadata, the file and the thumbnail."""
    base = link(f"/v1/images/{image_id}")
    return {"url": base, "content_url": f"{base}/content", "thumbnail_url": f"{base}/thumbnail"}


def image_view(image: Image, job: Job) -> ImageAnswer:
    """Convert an image; its parameters are those of its job, with its own seed and a count of one."""
    urls: dict[str, Any] = image_urls(image.id)
    return ImageAnswer.model_construct(
        id=image.id,
        job_id=image.job_id,
        index=image.index,
        seed=image.seed,
        width=image.width,
        height=image.height,
        format=image.format,
        bytes=image.bytes,
        sha256=image.sha256,
        rating=image.rating,
        model=job.model,
        input=public_input(job.input) | {"seed": image.seed, "num_images": 1},
        record=image.record,
        notice=notice_of(job.model),
        created_at=iso(image.created_at),  # type: ignore[arg-type]
        **urls,
    )
