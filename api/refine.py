"""Turn a request to refine an image into a queued job."""

from __future__ import annotations

from dataclasses import replace

from api.caller import Caller
from api.expanded_texts import ExpandedTexts
from api.farm import Farm
from api.overview import Overview
from api.submission import IdempotencyKey, accept_job, prepare_job, with_encrypted_secret
from api.threads import in_thread
from api.uploads import find_start_images, init_image_of, require_image_file
from api.views.jobs import public_input
from core.catalogue.upscalers import LANCZOS
from core.errors import Conflict, InvalidInput
from core.parameters.refine import ParentImage, refine
from core.parameters.seeds import input_of_image
from core.schemas.refine import RefineRequest
from db.images import get_image
from db.jobs.read import get_job
from db.jobs.submit import NewJob, Submitted
from db.tables import Image, Job


async def submit_refinement(
    farm: Farm,
    caller: Caller,
    image_id: str,
    request: RefineRequest,
    key: IdempotencyKey | None,
    *,
    face: str | None = None,
) -> Submitted:
    """Commit the job and publish its hint; raise NotFound or Gone for the image, and the errors of the request.

    `face`: see `db.tables.Job`.
    """

    async def prepare() -> NewJob:
        image = await in_thread(get_image, farm.database, image_id, caller.visible_owner)
        job = await in_thread(get_job, farm.database, image.job_id)
        return replace(await _prepare(farm, caller, image, job, request), face=face)

    return await accept_job(farm, caller, key, prepare)


async def _prepare(farm: Farm, caller: Caller, image: Image, job: Job, request: RefineRequest) -> NewJob:
    overview = await farm.overview.get()
    model = farm.model_selector.choose(_model_of(job), overview)
    given = public_input(input_of_image(job.input, image.index))
    parent = ParentImage(image.id, image.width, image.height, given, is_enlarged="source" in job.input)
    refinement = refine(request, parent, model)
    check_upscaler(refinement.origin.upscaler, overview, model.id)
    start = await find_start_images(farm, caller, refinement.request)
    if refinement.from_image:
        await in_thread(require_image_file, farm, image, "image")
        start = start._replace(init_image=init_image_of(image))
    wanted = refinement.request.model_copy(update={"init_image": image.id}) if refinement.from_image else refinement.request
    loras = await in_thread(farm.loras.files) if wanted.loras else ()
    start = start._replace(origin=refinement.origin)
    # The other faces take empty prompts.
    new = prepare_job(farm, caller, wanted, overview, start, loras, ExpandedTexts(wanted), empty_prompt=True)
    return replace(new, requested=with_encrypted_secret(farm, request.as_sent() | {"image": image.id}))


def _model_of(job: Job) -> str:
    """Return the model that rendered a job's images, or of enlarged ones those that they were made from."""
    model = job.input.get("model") or (job.input.get("parent") or {}).get("model")
    if not model:
        raise InvalidInput(
            "This image was not rendered here, so there is no prompt to refine it with: submit a job with init_image.",
            field="mode",
            code="refine_not_offered",
        )
    return str(model)


def check_upscaler(upscaler: str | None, overview: Overview, model: str) -> None:
    """Raise Conflict unless a live worker of the model can enlarge with the upscaler."""
    if upscaler in (None, LANCZOS):
        return
    able = {name for worker in overview.serving(model) for name in worker.info.get("upscalers", {})}
    if upscaler not in able:
        raise Conflict(
            f"No live worker of {model} has the weights of the upscaler '{upscaler}'. Install them on its machine, or "
            f"send one of: {', '.join(sorted({LANCZOS, *able}))}.",
            code="upscaler_not_served",
        )
