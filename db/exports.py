"""Read the images of an export page by page, oldest job first, so that memory and the time of a page are bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, exists, select

from core.ids import earliest_id
from core.lifecycle import JobStatus
from db import search
from db.database import Database
from db.jobs.read import images_of
from db.search import conditions_of
from db.sql import has_status
from db.tables import BatchJob, Image, Job

PAGE = 100
"""Jobs that are read at once."""
_CLOCKS_SECONDS = 3_600.0
"""More than the clocks of the API, which makes ids, and of the database, which sets `created_at`, may differ."""


@dataclass(frozen=True)
class ExportChoice:
    """Which images to export: those of a batch, or these images, or those of these jobs; else all that match the filters.

    `owner`: whose images alone; None: of all owners. `since` and `until`: when the job was submitted, in seconds since 1970.
    `min_rating`: 1 to 5, images without a rating are left out then.
    """

    owner: str | None = None
    batch: str | None = None
    images: Sequence[str] = ()
    jobs: Sequence[str] = ()
    model: str | None = None
    text: str = ""
    since: float | None = None
    until: float | None = None
    min_rating: int | None = None


@dataclass(frozen=True)
class ExportedImage:
    """An image with its job."""

    image: Image
    job: Job


def export_pages(database: Database, choice: ExportChoice) -> Iterator[list[ExportedImage]]:
    """Yield the images in pages; each page is a few short queries.

    A page is empty when the next jobs that were searched do not match, so that the caller's thread is free in between.
    Jobs that finish meanwhile may be included, and those that are deleted are left out.
    """
    for job_ids in _job_pages(database, choice):
        if not job_ids:
            yield []
            continue
        jobs = {job.id: job for job in _matching(database, job_ids, choice)}
        wanted = set(choice.images)
        page = [
            ExportedImage(image, jobs[image.job_id])
            for image in images_of(database, list(jobs))
            if (not wanted or image.id in wanted) and (image.rating or 0) >= (choice.min_rating or 0)
        ]
        page.sort(key=lambda each: (job_ids.index(each.job.id), each.image.index))
        yield page


def jobs_of_images(database: Database, image_ids: Sequence[str]) -> list[str]:
    """Return the ids of the jobs of these images, each once, oldest first."""
    with database.read() as session:
        return sorted(set(session.scalars(select(Image.job_id).where(Image.id.in_(image_ids)))))


def _job_pages(database: Database, choice: ExportChoice) -> Iterator[list[str]]:
    """Yield pages of ids of jobs that may match."""
    if choice.batch is not None:
        yield from _pages_of_batch(database, choice.batch)
    elif choice.images or choice.jobs:
        named = [*jobs_of_images(database, choice.images), *sorted(set(choice.jobs))]
        for start in range(0, len(named), PAGE):
            yield named[start : start + PAGE]
    else:
        yield from _pages_of_jobs(database, choice)


def _pages_of_batch(database: Database, batch: str) -> Iterator[list[str]]:
    last = -1
    while True:
        query = select(BatchJob.index, BatchJob.job_id).where(BatchJob.batch_id == batch, BatchJob.index > last)
        with database.read() as session:
            rows = session.execute(query.order_by(BatchJob.index).limit(PAGE)).all()
        if not rows:
            return
        last = rows[-1][0]
        yield [job_id for _, job_id in rows]


def _pages_of_jobs(database: Database, choice: ExportChoice) -> Iterator[list[str]]:
    """Search the jobs that succeeded from the earliest possible id on, SCANNED_JOBS at a time."""
    after = "" if choice.since is None else earliest_id(choice.since - _CLOCKS_SECONDS)
    while True:
        last = _last_to_scan(database, choice, after)
        yield from _pages_between(database, choice, after, last)
        if last is None:
            return
        after = last


def _pages_between(database: Database, choice: ExportChoice, after: str, last: str | None) -> Iterator[list[str]]:
    """Yield pages of ids of the matching jobs with `after` < id <= `last`; the last page may be empty."""
    matches = [*_conditions(choice), *conditions_of(choice.text)]
    matches += [Job.id <= last] if last is not None else []
    matches += [Job.id < earliest_id(choice.until + _CLOCKS_SECONDS)] if choice.until is not None else []
    while True:
        query = select(Job.id).where(Job.id > after, *matches).order_by(Job.id).limit(PAGE)
        with database.read() as session:
            found = list(session.scalars(query))
        yield found
        if len(found) < PAGE:
            return
        after = found[-1]


def _last_to_scan(database: Database, choice: ExportChoice, after: str) -> str | None:
    """Return the id of the last job to search; None when fewer are left. Reads only an index."""
    query = select(Job.id).where(has_status(JobStatus.SUCCEEDED), Job.id > after)
    query = query.where(Job.owner == choice.owner) if choice.owner is not None else query
    query = query.where(Job.id < earliest_id(choice.until + _CLOCKS_SECONDS)) if choice.until is not None else query
    with database.read() as session:
        return session.scalar(query.order_by(Job.id).offset(search.SCANNED_JOBS - 1).limit(1))


def _matching(database: Database, job_ids: Sequence[str], choice: ExportChoice) -> list[Job]:
    query = select(Job).where(Job.id.in_(job_ids), *_conditions(choice), *conditions_of(choice.text))
    with database.read() as session:
        return list(session.scalars(query))


def _conditions(choice: ExportChoice) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions on a job besides its text."""
    yield has_status(JobStatus.SUCCEEDED)
    if choice.owner is not None:
        yield Job.owner == choice.owner
    if choice.model is not None:
        yield Job.model == choice.model
    if choice.since is not None:
        yield Job.created_at >= choice.since
    if choice.until is not None:
        yield Job.created_at < choice.until
    if choice.min_rating is not None:
        yield exists().where(Image.job_id == Job.id, Image.rating >= choice.min_rating)
