"""Submit a batch, wait for its end, and draw its contact sheet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from api.caller import Caller
from api.expanded_texts import ExpandedTexts, TextExpander
from api.farm import Farm
from api.overview import Overview
from api.submission import IdempotencyKey, pixels_of, prepare_job, reserved, with_encrypted_secret
from api.threads import in_thread
from api.uploads import read_start_images
from core.catalogue.loras import LoraFile
from core.errors import InvalidInput
from core.imagefile.conversion import Cell, contact_sheet
from core.imagefile.grid_sheet import SheetFormat, grid_sheet
from core.lifecycle import JobKind
from core.parameters import InvalidParameters
from core.parameters.grid import combinations
from core.parameters.grid_layout import IMAGE, Axes, caption, lay_out
from core.schemas.batches import BatchRequest
from core.schemas.jobs import JobRequest, RenderFields
from db.batches import NewBatch, SubmittedBatch, members, open_members, submit_batch
from db.jobs.read import snapshots_of
from db.jobs.submit import NewJob
from db.tables import Batch

MAX_CELLS = 400
MIN_SIDE = 64


async def accept_batch(farm: Farm, caller: Caller, request: BatchRequest, key: IdempotencyKey | None) -> SubmittedBatch:
    """Submit all jobs of a batch or none, and publish their hints."""
    overview = await farm.overview.get()
    # A batch of 1,000 jobs takes a good part of a second to validate.
    jobs = await in_thread(_new_jobs, farm, caller, request, overview)
    return await commit_batch(farm, caller, jobs, request.model_dump(mode="json", exclude_unset=True), request.name, key)


async def commit_batch(
    farm: Farm,
    caller: Caller,
    jobs: list[tuple[NewJob, dict[str, Any]]],
    requested: dict[str, Any],
    name: str | None,
    key: IdempotencyKey | None,
) -> SubmittedBatch:
    """Reserve the key's limits, commit the jobs with their values on the axes, and publish their hints."""
    new = NewBatch(
        owner=caller.owner,
        requested=with_encrypted_secret(farm, requested),
        jobs=jobs,
        name=name,
        key=key.key if key else None,
        request_hash=key.request_hash if key else "",
    )
    started = time.time()
    async with reserved(farm.database, caller, len(jobs), sum(pixels_of(job.input) for job, _ in jobs)) as reservation:
        submitted = await in_thread(submit_batch, farm.database, new)
        if submitted.replayed:
            await reservation.give_back()
    if farm.tracing is not None:
        for job_id, model in submitted.members:
            farm.tracing.submitted(job_id, started, model=model)
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
    combined = combinations(request, farm.settings.max_jobs_per_batch, farm.settings.max_prompt_chars)
    expander = TextExpander(farm, caller)
    requests = [_job_request(expander, request, fields, axes, i) for i, (fields, axes) in enumerate(combined)]
    loras = farm.loras.files() if any(texts.request.may_name_loras for _, texts in requests) else ()
    return [
        (_new_job(farm, caller, wanted, texts, overview, axes, index, loras), axes)
        for index, ((wanted, texts), (_, axes)) in enumerate(zip(requests, combined, strict=True))
    ]


def _job_request(
    expander: TextExpander, batch: BatchRequest, fields: RenderFields, axes: dict[str, Any], index: int
) -> tuple[JobRequest, ExpandedTexts]:
    common: dict[str, Any] = {
        "priority": batch.priority,
        "deadline_seconds": batch.deadline_seconds,
        "metadata": batch.metadata,
    }
    if batch.webhook is not None:
        common["webhook"] = batch.webhook.model_dump()
    request = JobRequest.model_validate(fields.model_dump(exclude_unset=True) | common)
    with _naming_the_job(index, axes):
        return request, expander.expand(request)


def _new_job(
    farm: Farm,
    caller: Caller,
    request: JobRequest,
    texts: ExpandedTexts,
    overview: Overview,
    axes: dict[str, Any],
    index: int,
    loras: Sequence[LoraFile],
) -> NewJob:
    with _naming_the_job(index, axes):
        return prepare_job(farm, caller, request, overview, read_start_images(farm, caller, request), loras, texts)


@contextmanager
def _naming_the_job(index: int, axes: dict[str, Any]) -> Iterator[None]:
    """Say in the errors of one job of a batch which one it is."""
    try:
        yield
    except InvalidParameters as error:
        raise InvalidParameters(
            [(f"job {index}: {field}", f"{message} (axes {axes})") for field, message in error.problems]
        ) from None
    except InvalidInput as error:
        raise InvalidInput(f"Job {index}: {error.message}", field=error.field, code=error.code) from None


async def contact_sheet_of(farm: Farm, batch: Batch, columns: int, side: int, format: SheetFormat) -> bytes:
    """Return a sheet of the batch's images, with grey cells for those that do not exist yet or whose file is missing.

    Without `columns`, rows and columns are the values of its axes, with labels; a batch without axes, or with more than
    MAX_CELLS images, gets a sheet about square of the first ones, with captions. Raises NotFound when all files are missing.
    """
    return await in_thread(_contact_sheet, farm, batch, columns, side, format)


def _contact_sheet(farm: Farm, batch: Batch, columns: int, side: int, format: SheetFormat) -> bytes:
    rows = members(farm.database, batch.id)
    cells: list[Cell] = []
    axes: list[Axes] = []
    for (member, job), snapshot in zip(rows, snapshots_of(farm.database, [job for _, job in rows]), strict=True):
        images = {image.index: image for image in snapshot.images}
        count = int(job.input.get("num_images", 1))
        text = caption(member.axes) if "job" not in member.axes else f"job {member.index}"
        for index in images or range(count):
            image = images.get(index)
            load = partial(farm.store.read_reduced, image.key) if image is not None else None
            cells.append(Cell(load, text if load is not None else f"{job.status}: {text}"))
            places = member.axes if job.kind == JobKind.RENDER else {"job": member.index}
            axes.append({**places, IMAGE: index} if count > 1 else places)
        if len(cells) > MAX_CELLS:
            break
    layout = lay_out(axes) if not columns and len(cells) <= MAX_CELLS else None
    if layout is None or len(layout.columns) * len(layout.rows) > MAX_CELLS:
        shown = cells[:MAX_CELLS] or [Cell(None, "no jobs are left")]
        return contact_sheet(shown, columns=columns, side=side, format=format)
    placed = dict(zip(layout.places, (_in_grid(cell) for cell in cells), strict=True))
    title = " · ".join(filter(None, (batch.name, _common_prompt(axes))))
    # Images smaller than `side` are not enlarged: their cells are no larger either.
    largest = max(max(int(job.input["width"]), int(job.input["height"])) for _, job in rows)
    return grid_sheet(
        placed, layout.columns, layout.rows, title=title, side=max(min(side, largest), MIN_SIDE), format=format
    )


def _in_grid(cell: Cell) -> Cell:
    """Return a cell without the values that the labels of its row and column show."""
    return Cell(cell.load, "" if cell.load is not None else cell.caption.partition(":")[0])


def _common_prompt(axes: Sequence[Axes]) -> str:
    prompts = {str(item.get("prompt", "")) for item in axes}
    return prompts.pop() if len(prompts) == 1 else ""
