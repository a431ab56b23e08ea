"""Build the API's view of a lineage from rows."""

from __future__ import annotations

from api.views.jobs import image_urls
from core.schemas.base import iso
from core.schemas.refine import Lineage as LineageAnswer
from core.schemas.refine import LineageImage
from db.lineage import Lineage, Relative
from db.tables import Image, Job


def lineage_view(lineage: Lineage) -> LineageAnswer:
    """Convert a lineage."""
    return LineageAnswer(
        image=_shown(*lineage.image, depth=0),
        ancestors=[_relative(each) for each in lineage.ancestors],
        descendants=[_relative(each) for each in lineage.descendants],
        truncated=lineage.is_cut,
    )


def _relative(relative: Relative) -> LineageImage:
    if relative.row is None:
        return LineageImage(id=relative.image_id, depth=relative.depth, gone=True)
    return _shown(*relative.row, depth=relative.depth)


def _shown(image: Image, job: Job, *, depth: int) -> LineageImage:
    return LineageImage(
        id=image.id,
        depth=depth,
        parent=job.parent_image_id,
        mode=job.input.get("refine_mode"),
        job_id=job.id,
        model=job.model,
        width=image.width,
        height=image.height,
        seed=image.seed,
        rating=image.rating,
        created_at=iso(image.created_at),
        **image_urls(image.id),
    )
