"""Routes txt2img and img2img."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.responses import Response

from api.a1111.errors import errors
from api.a1111.hires import plan_second_pass, refine_all
from api.a1111.pictures import Pictures, start_pictures
from api.a1111.request import FACE, A1111Submitter, Wanted, job_requests
from api.a1111.response import Finishing, images_response
from api.a1111.unknown_names import without_unknown
from api.a1111.without_effect import CHECKPOINT, ignored_fields
from api.batches import commit_batch, wait_until_all_settled
from api.caller import Caller
from api.dependencies import FarmDependency
from api.expanded_texts import TextExpander
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.submission import (
    IdempotencyKey,
    StillRunning,
    error_of_job,
    idempotency_key,
    prepare_job,
    submit_job,
    wait_for_end,
)
from api.threads import in_thread
from api.uploads import read_start_images
from api.validation import from_pydantic
from core.catalogue import CatalogueModel
from core.lifecycle import SETTLED, JobStatus
from core.schemas.a1111 import A1111Images, Img2Img, Txt2Img
from core.schemas.jobs import JobRequest
from db.batches import members
from db.jobs.read import Snapshot, snapshots_of
from db.jobs.submit import NewJob
from db.tables import Upload

router = APIRouter(prefix="/sdapi/v1", tags=["a1111"], route_class=LazyRoute)

_ERRORS: dict[int | str, dict[str, Any]] = errors(400, 408, 409, 413, 415, 429, 500, 504)
TASK_KEY = "a1111-task:"


@router.post("/txt2img", response_model=A1111Images, summary="Render now (A1111's shape)", responses=_ERRORS)
async def txt2img(farm: FarmDependency, caller: A1111Submitter, wanted: Txt2Img) -> Response:
    """Render and wait for the images. Steps and guidance default to the model's own."""
    overview = await farm.overview.get()
    model = await _model(farm, caller, wanted)
    wanted, left_out = await in_thread(without_unknown, farm, caller, wanted, model)
    found = _requests(farm, wanted, model, Pictures({}), left_out)
    finishing = Finishing(found.cut)
    if not wanted.enable_hr:
        snapshots = await _render(farm, caller, wanted, found.jobs, {})
        return await images_response(farm, snapshots, wanted, [*found.warnings, *ignored_fields(wanted)], finishing)
    asked = wanted.width or model.defaults.width, wanted.height or model.defaults.height
    second = await plan_second_pass(farm, wanted, model, found.jobs[0], asked, overview)
    warnings = [*found.warnings, *second.warnings, *ignored_fields(wanted)]
    first = await _render(farm, caller, wanted, found.jobs, {})
    if any(snapshot.job.status != JobStatus.SUCCEEDED for snapshot in first):
        return await images_response(farm, first, wanted, warnings, finishing)
    snapshots = await refine_all(farm, caller, first, second, wanted.force_task_id)
    _raise_failed(snapshots)
    shown = Finishing(second.cut, shown=second.shown)
    return await images_response(farm, snapshots, wanted, warnings, shown, before=first)


@router.post("/img2img", response_model=A1111Images, summary="Render from an image", responses=_ERRORS)
async def img2img(farm: FarmDependency, caller: A1111Submitter, wanted: Img2Img) -> Response:
    """Render from the first of `init_images` and wait for the images; with a `mask`, repaint its white areas."""
    model = await _model(farm, caller, wanted)
    wanted, left_out = await in_thread(without_unknown, farm, caller, wanted, model)
    pictures = await start_pictures(farm, caller, wanted, model)
    found = _requests(farm, wanted, model, pictures, left_out)
    snapshots = await _render(farm, caller, wanted, found.jobs, pictures.uploads)
    warnings = [*found.warnings, *pictures.warnings, *ignored_fields(wanted)]
    finishing = Finishing(None if pictures.paste_back else found.cut, pictures.paste_back)
    return await images_response(farm, snapshots, wanted, warnings, finishing)


async def _model(farm: Farm, caller: Caller, wanted: Txt2Img) -> CatalogueModel:
    """Return the model of the request, else the caller's sd_model_checkpoint of POST /options, else the default."""
    checkpoint = (wanted.override_settings or {}).get(CHECKPOINT) or farm.checkpoints.get(caller.owner)
    if checkpoint:
        return farm.catalogue.get(str(checkpoint))
    return farm.model_selector.default(await farm.overview.get())


def _requests(farm: Farm, wanted: Txt2Img, model: CatalogueModel, pictures: Pictures, left_out: Sequence[str]) -> Wanted:
    """Return the jobs of a request; `left_out`: what else the answer says."""
    try:
        ids = {field: upload.id for field, upload in pictures.uploads.items()}
        settings = farm.settings
        found = job_requests(
            wanted, model, ids, settings.max_images_per_job, pictures.size, max_jobs=settings.max_jobs_per_batch
        )
    except ValidationError as error:
        raise from_pydantic(error) from None
    found.warnings.extend(left_out)
    return found


async def _render(
    farm: Farm, caller: Caller, wanted: Txt2Img, requests: Sequence[JobRequest], uploads: Mapping[str, Upload]
) -> list[Snapshot]:
    """Submit the job, or the batch of several; return them once they have settled. Raises the error of one that failed."""
    key = _key(wanted, requests, uploads)
    if len(requests) == 1:
        submitted = await submit_job(farm, caller, requests[0], key, face=FACE, empty_prompt=True)
        snapshots = [await wait_for_end(farm, submitted.job.id)]
    else:
        snapshots = await _render_batch(farm, caller, requests, key)
    _raise_failed(snapshots)
    return snapshots


async def _render_batch(
    farm: Farm, caller: Caller, requests: Sequence[JobRequest], key: IdempotencyKey | None
) -> list[Snapshot]:
    overview = await farm.overview.get()

    def prepared() -> list[tuple[NewJob, dict[str, Any]]]:
        expander = TextExpander(farm, caller)
        loras = farm.loras.files() if requests[0].may_name_loras else ()
        jobs = []
        for request in requests:
            start = read_start_images(farm, caller, request)
            texts = expander.expand(request)
            new = prepare_job(farm, caller, request, overview, start, loras, texts, empty_prompt=True)
            jobs.append((replace(new, face=FACE), {"seed": request.seed}))
        return jobs

    jobs = await in_thread(prepared)
    submitted = await commit_batch(farm, caller, jobs, {"base": requests[0].as_sent()}, None, key)
    await wait_until_all_settled(farm, submitted.batch.id, farm.settings.sync_wait_seconds)
    rows = await in_thread(members, farm.database, submitted.batch.id)
    snapshots = list(await in_thread(snapshots_of, farm.database, [job for _, job in rows]))
    running = next((snapshot.job for snapshot in snapshots if snapshot.job.status not in SETTLED), None)
    if running is not None:
        raise StillRunning(running)
    return snapshots


def _raise_failed(snapshots: Sequence[Snapshot]) -> None:
    for snapshot in snapshots:
        if snapshot.job.status not in (JobStatus.SUCCEEDED, JobStatus.CANCELED):
            raise error_of_job(snapshot.job)


def _key(wanted: Txt2Img, requests: Sequence[JobRequest], uploads: Mapping[str, Upload]) -> IdempotencyKey | None:
    """Return the idempotency key of a task id: the id names one job, and sending it again does not render twice."""
    if not wanted.force_task_id:
        return None
    body = requests[0].as_sent() | {field: upload.sha256 for field, upload in uploads.items()}
    if len(requests) > 1 and (wanted.seed is None or wanted.seed == -1):
        body = {name: value for name, value in body.items() if name not in ("seed", "variation_seed")}
    return idempotency_key(TASK_KEY + wanted.force_task_id, body)
