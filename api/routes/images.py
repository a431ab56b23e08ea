"""Images: metadata, rating, deletion."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from api.answers import json_answer
from api.dependencies import CallerDependency, FarmDependency, ImageId, SubmitterDependency
from api.documents import problems
from api.threads import in_thread
from api.views.images import image_answer
from core.schemas.image import Image as ImageAnswer
from core.schemas.image import ImageChange
from db.images import get_image
from db.jobs.read import get_job
from db.ratings import rate
from db.retention import delete_image

router = APIRouter(prefix="/v1/images", tags=["images"])


@router.get("/{image_id}", response_model=ImageAnswer, summary="An image's metadata", responses=problems(404, 410))
async def read_image(farm: FarmDependency, caller: CallerDependency, image_id: ImageId) -> Response:
    """Everything that made it: parameters, seed, device, versions."""
    image = await in_thread(get_image, farm.database, image_id, caller.visible_owner)
    job = await in_thread(get_job, farm.database, image.job_id)
    return json_answer(image_answer(image, job))


@router.patch("/{image_id}", response_model=ImageAnswer, summary="Rate an image", responses=problems(400, 404, 410, 413))
async def change_image(
    farm: FarmDependency, caller: SubmitterDependency, image_id: ImageId, change: ImageChange
) -> Response:
    """1 to 5 stars, or null for none."""
    image = await in_thread(rate, farm.database, image_id, change.rating, caller.acting_owner)
    job = await in_thread(get_job, farm.database, image.job_id)
    return json_answer(image_answer(image, job))


@router.delete("/{image_id}", status_code=204, summary="Delete an image", responses=problems(404, 410))
async def remove_image(farm: FarmDependency, caller: SubmitterDependency, image_id: ImageId) -> Response:
    """Row and file; the id answers 410 from then on."""
    key = await in_thread(delete_image, farm.database, image_id, caller.acting_owner)
    await in_thread(farm.store.delete, key)
    return Response(status_code=204)
