"""An image's row, as the API shows it."""

from __future__ import annotations

from typing import Any

from api.views.inputs import notice_of, public_input
from core.schemas.base import iso
from core.schemas.image import Image as ImageAnswer
from db.tables import Image, Job


def image_urls(image_id: str) -> dict[str, str]:
    """Where the metadata, the file and the thumbnail are."""
    base = f"/v1/images/{image_id}"
    return {"url": base, "content_url": f"{base}/content", "thumbnail_url": f"{base}/thumbnail"}


def image_answer(image: Image, job: Job) -> ImageAnswer:
    """The image with the parameters that made it: those of its job, with its own seed and a count of one."""
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
