"""Stream a zip of images: one image in memory at a time, at the pace of the client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from api.caller import Caller
from api.farm import Farm
from api.image_formats import stored_format
from api.threads import in_thread
from api.views.jobs import public_input
from core.errors import FarmError, InvalidInput, NotFound, Unavailable
from core.imagefile import EXTENSIONS, ImageFormat
from core.schemas.base import iso
from core.storage.archive import ImageArchive, Layout, MetadataKind
from db.batches import get_batch
from db.exports import ExportChoice, ExportedImage, export_pages
from db.images import get_image
from db.jobs.read import get_job

MAX_NAMED = 1000
"""Images and jobs that one request may name."""


@dataclass(frozen=True)
class ExportShape:
    """How the zip looks. `format`: None leaves images as they are stored."""

    format: ImageFormat | None = None
    layout: Layout = "flat"
    metadata: MetadataKind = "jsonl"


async def open_export(farm: Farm, caller: Caller, choice: ExportChoice, shape: ExportShape) -> AsyncIterator[bytes]:
    """Return the pieces of the zip. Raises, before the first one, InvalidInput, NotFound or Gone for what is not there."""
    await in_thread(_check, farm, caller, choice)
    pages = export_pages(farm.database, choice)
    first = await _next_page(pages)
    if first is None:
        raise NotFound("There is no finished image that matches: nothing to export.", code="nothing_to_export")
    return _pieces(farm, first, pages, shape)


def _check(farm: Farm, caller: Caller, choice: ExportChoice) -> None:
    if sum(map(bool, (choice.batch, choice.images, choice.jobs))) > 1:
        raise InvalidInput("Name a batch, images or jobs, and only one of these.", field="batch")
    if len(choice.images) + len(choice.jobs) > MAX_NAMED:
        raise InvalidInput(f"Name at most {MAX_NAMED} images or jobs.", field="image" if choice.images else "job")
    if choice.batch is not None:
        get_batch(farm.database, choice.batch, caller.visible_owner)
    for image in choice.images:
        get_image(farm.database, image, caller.visible_owner)
    for job in choice.jobs:
        get_job(farm.database, job, caller.visible_owner)


async def _pieces(
    farm: Farm, first: list[ExportedImage], pages: Iterator[list[ExportedImage]], shape: ExportShape
) -> AsyncIterator[bytes]:
    archive = ImageArchive(layout=shape.layout, metadata=shape.metadata)
    try:
        page: list[ExportedImage] | None = first
        while page is not None:
            for each in page:
                if piece := await _add(farm, archive, each, shape.format):
                    yield piece
            page = await _next_page(pages)
        rest = archive.finish()
        while (last := await in_thread(_next_piece, rest)) is not None:
            yield last
    finally:
        archive.close()


async def _next_page(pages: Iterator[list[ExportedImage]]) -> list[ExportedImage] | None:
    """Return the next page with images; None at the end. Between two parts of a long search the thread is free."""
    while (page := await in_thread(next, pages, None)) is not None and not page:
        pass
    return page


def _next_piece(pieces: Iterator[bytes]) -> bytes | None:
    return next(pieces, None)


async def _add(farm: Farm, archive: ImageArchive, each: ExportedImage, wanted: ImageFormat | None) -> bytes:
    """Add one image; record one whose file is missing or damaged, or does not fit the format."""
    image, row = each.image, _row(each)
    stored = stored_format(image.format)
    target = wanted or stored
    try:
        variants = farm.image_variants
        data = await (variants.file(image.key) if target == stored else variants.converted(image.key, target))
    except Unavailable:
        raise  # The whole store is away: an end of the stream is better than an archive of nothing.
    except FarmError as error:
        await in_thread(archive.miss, error.message, row)
        return b""
    moment = datetime.fromtimestamp(each.job.completed_at or image.created_at, UTC)
    return await in_thread(archive.add, data, moment, EXTENSIONS[target], row)


def _row(each: ExportedImage) -> dict[str, Any]:
    """Return the metadata of an image; `sha256` and `bytes` are those of the stored file."""
    image, job = each.image, each.job
    return {
        "id": image.id,
        "job_id": job.id,
        "batch_id": job.requested.get("batch_id"),
        "index": image.index,
        "model": job.model,
        "seed": image.seed,
        "width": image.width,
        "height": image.height,
        "rating": image.rating,
        "created_at": _text(image.created_at),
        "completed_at": _text(job.completed_at),
        "bytes": image.bytes,
        "sha256": image.sha256,
        "input": public_input(job.input) | {"seed": image.seed, "num_images": 1},
        "record": image.record,
        "metadata": job.requested.get("metadata", {}),
    }


def _text(seconds: float | None) -> str | None:
    moment = iso(seconds)
    return None if moment is None else moment.isoformat()
