"""Submit a batch, wait for its end, and draw its contact sheet."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from api.caller import Caller
from api.farm import Farm
from api.overview import Overview
from api.submission import IdempotencyKey, pixels_of, prepare_job, reserved, with_encrypted_secret
from api.threads import in_thread
from api.uploads import read_init_image
from core.errors import InvalidInput
from core.imagefile.conversion import Cell, contact_sheet
from core.parameters import InvalidParameters
from core.parameters.grid import combinations
from core.schemas.batches import BatchRequest
from core.schemas.jobs import JobRequest, RenderFields
from db.batches import NewBatch, SubmittedBatch, members, open_members, submit_batch
from db.jobs.read import snapshots_of
from db.jobs.submit import NewJob
from db.tables import Batch

MAX_CELLS = 400


async def accept_batch(farm: Farm, caller: Caller, request: BatchRequest, key: IdempotencyKey | None) -> SubmittedBatch:
    """Submit all jobs of a batch or none, and publish their hints."""
    overview = await farm.overview.get()
    # A batch of 1,000 jobs takes a good part of a second to validate.
    jobs = await in_thread(_new_jobs, farm, caller, request, overview)
    new = NewBatch(
        owner=caller.owner,
        requested=with_encrypted_secret(farm, request.model_dump(mode="json", exclude_unset=True)),
        jobs=jobs,
        name=request.name,
        key=key.key if key else None,
        request_hash=key.request_hash if key else "",
    )
    async with reserved(farm.database, caller, len(jobs), sum(pixels_of(job.input) for job, _ in jobs)) as reservation:
        submitted = await in_thread(submit_batch, farm.database, new)
        if submitted.replayed:
            await reservation.give_back()
    for job in submitted.hints:
        farm.publisher.hint(job)
    return submitted


async def wait_until_all_settled(farm: Farm, batch_id: str, seconds: float) -> None:
    """Wait until no job of the batch is open, or `seconds` have passed.

    Holds neither a thread nor a database connection while it waits.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end and not farm.closing.is_set():
        if not (job_ids := await in_thread(open_members, farm.database, batch_id)):
            return
        with farm.watcher.hub.subscribe_all(job_ids) as jobs:
            jobs.keep(await in_thread(open_members, farm.database, batch_id))
            await jobs.wait(end - loop.time())
        # Read again: a held job that was settled may have been queued again meanwhile.


def _new_jobs(farm: Farm, caller: Caller, request: BatchRequest, overview: Overview) -> list[tuple[NewJob, dict[str, Any]]]:
    return [
        (_new_job(farm, caller, request, fields, overview, axes, index), axes)
        for index, (fields, axes) in enumerate(combinations(request, farm.settings.max_jobs_per_batch))
    ]


def _new_job(
    farm: Farm,
    caller: Caller,
    batch: BatchRequest,
    fields: RenderFields,
    overview: Overview,
    axes: dict[str, Any],
    index: int,
) -> NewJob:
    common: dict[str, Any] = {
        "priority": batch.priority,
        "deadline_seconds": batch.deadline_seconds,
        "metadata": batch.metadata,
    }
    if batch.webhook is not None:
        common["webhook"] = batch.webhook.model_dump()
    request = JobRequest.model_validate(fields.model_dump(exclude_unset=True) | common)
    try:
        return prepare_job(farm, caller, request, overview, read_init_image(farm, caller, request.init_image))
    except InvalidParameters as error:
        raise InvalidParameters(
            [(f"job {index}: {field}", f"{message} (axes {axes})") for field, message in error.problems]
        ) from None
    except InvalidInput as error:
        raise InvalidInput(f"Job {index}: {error.message}", field=error.field, code=error.code) from None


async def contact_sheet_of(farm: Farm, batch: Batch, columns: int, side: int) -> bytes:
    """Return a PNG of the batch's first images, with grey cells for images that do not exist yet or whose file is missing.

    Raises NotFound `image_file_missing` when the files of all images are missing.
    """
    return await in_thread(_contact_sheet, farm, batch, columns, side)


def _contact_sheet(farm: Farm, batch: Batch, columns: int, side: int) -> bytes:
    rows = members(farm.database, batch.id)
    cells: list[Cell] = []
    for (member, job), snapshot in zip(rows, snapshots_of(farm.database, [job for _, job in rows]), strict=True):
        caption = ", ".join(f"{name} {value}" for name, value in member.axes.items()) or f"job {member.index}"
        if not snapshot.images:
            cells.append(Cell(None, f"{job.status}: {caption}"))
        cells += [Cell(partial(farm.store.read_reduced, image.key), caption) for image in snapshot.images]
        if len(cells) >= MAX_CELLS:
            break
    return contact_sheet(cells[:MAX_CELLS] or [Cell(None, "no jobs are left")], columns=columns, side=side)
