"""List images for a gallery, newest first, by position, so that any part of a long list is one bounded query."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, Text, cast, func, select

from core.ids import earliest_id
from db.database import Database
from db.search import conditions_of
from db.tables import BatchJob, CollectionImage, Image, Job

MAX_ROWS = 200_000
"""Images that a gallery reaches; a filter by day finds older ones."""
_PROMPT_CHARACTERS = 300
_CLOCKS_SECONDS = 86_400.0
"""More than the clocks of workers, which make ids, and of the database, which sets `created_at`, may differ. Ids are in the
order of time, so that a filter by time need not read all newer images."""


@dataclass(frozen=True)
class GalleryChoice:
    """Which images to list. `owner`: whose alone; None: of all owners. Times are seconds since 1970.

    `anchor`: the newest image to list, so that positions do not shift while images are added.
    """

    owner: str | None = None
    text: str = ""
    model: str | None = None
    min_rating: int | None = None
    batch: str | None = None
    lora: str | None = None
    collection: str | None = None
    since: float | None = None
    until: float | None = None
    anchor: str | None = None


@dataclass(frozen=True)
class GalleryRow:
    """An image as a grid shows it."""

    id: str
    job_id: str
    width: int
    height: int
    seed: int
    rating: int | None
    created_at: float
    owner: str
    model: str
    kind: str
    prompt: str


def count_gallery(database: Database, choice: GalleryChoice) -> int:
    """Count the images, up to MAX_ROWS."""
    rows = _filtered(select(Image.id), choice).limit(MAX_ROWS)
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(rows.subquery())) or 0


def read_gallery(database: Database, choice: GalleryChoice, offset: int, limit: int) -> list[GalleryRow]:
    """Return the images from position `offset`, newest first."""
    ids = _filtered(select(Image.id), choice).order_by(Image.id.desc()).offset(offset).limit(limit)
    with database.read() as session:
        wanted = list(session.scalars(ids))
        query = (
            select(
                Image.id,
                Image.job_id,
                Image.width,
                Image.height,
                Image.seed,
                Image.rating,
                Image.created_at,
                Image.owner,
                Job.model,
                Job.kind,
                func.substr(Job.prompt, 1, _PROMPT_CHARACTERS),
            )
            .join(Job, Job.id == Image.job_id)
            .where(Image.id.in_(wanted))
            .order_by(Image.id.desc())
        )
        return [GalleryRow(*row) for row in session.execute(query)]


def _filtered(query: Select[tuple[str]], choice: GalleryChoice) -> Select[tuple[str]]:
    of_job = _job_conditions(choice)
    if of_job:
        query = query.join(Job, Job.id == Image.job_id).where(*of_job)
    if choice.batch is not None:
        query = query.join(BatchJob, BatchJob.job_id == Image.job_id).where(BatchJob.batch_id == choice.batch)
    if choice.collection is not None:
        query = query.join(CollectionImage, CollectionImage.image_id == Image.id)
        query = query.where(CollectionImage.collection_id == choice.collection)
    return query.where(*_image_conditions(choice))


def _job_conditions(choice: GalleryChoice) -> Sequence[ColumnElement[bool]]:
    found = conditions_of(choice.text)
    if choice.model is not None:
        found.append(Job.model == choice.model)
    if choice.lora is not None:
        # The stored text of the input, as json.dumps writes it on both databases: an index would serve this filter alone.
        found.append(cast(Job.input, Text).contains(f'"name": {json.dumps(choice.lora)}', autoescape=True))
    return found


def _image_conditions(choice: GalleryChoice) -> Sequence[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if choice.owner is not None:
        found.append(Image.owner == choice.owner)
    if choice.min_rating is not None:
        found.append(Image.rating >= choice.min_rating)
    if choice.since is not None:
        found += [Image.created_at >= choice.since, Image.id >= earliest_id(choice.since - _CLOCKS_SECONDS)]
    if choice.until is not None:
        found += [Image.created_at < choice.until, Image.id < earliest_id(choice.until + _CLOCKS_SECONDS)]
    if choice.anchor is not None:
        found.append(Image.id <= choice.anchor)
    return found
