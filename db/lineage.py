"""Follow images to those they were made from, and to those made from them: one indexed query for each generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, select

from db.database import Database
from db.tables import Image, Job

MAX_DEPTH = 32
MAX_DESCENDANTS = 500


@dataclass(frozen=True)
class Relative:
    """An image, and its generations from the one that was asked about. `row` is None for an image that is gone."""

    image_id: str
    depth: int
    row: tuple[Image, Job] | None


@dataclass(frozen=True)
class Lineage:
    """`ancestors`: the nearest first. `descendants`: by generation, oldest first. `is_cut`: there are more than shown."""

    image: tuple[Image, Job]
    ancestors: list[Relative]
    descendants: list[Relative]
    is_cut: bool


def lineage_of(database: Database, image: Image, job: Job, owner: str | None = None) -> Lineage:
    """Return the relatives of an image that this owner may see; others, and deleted ones, are gone.

    A chain ends at an image that is gone, since only its job knew what it was made from.
    """
    ancestors, higher = _ancestors(database, job, owner)
    descendants, more = _descendants(database, image.id, owner)
    return Lineage((image, job), ancestors, descendants, is_cut=higher or more)


def _ancestors(database: Database, job: Job, owner: str | None) -> tuple[list[Relative], bool]:
    found: list[Relative] = []
    parent = job.parent_image_id
    while parent is not None and len(found) < MAX_DEPTH:
        rows = _read(database, _pairs(owner).where(Image.id == parent))
        found.append(Relative(parent, len(found) + 1, rows[0] if rows else None))
        parent = rows[0][1].parent_image_id if rows else None
    return found, parent is not None


def _descendants(database: Database, image_id: str, owner: str | None) -> tuple[list[Relative], bool]:
    found: list[Relative] = []
    parents, depth = [image_id], 0
    while parents and depth < MAX_DEPTH:
        left = MAX_DESCENDANTS - len(found)
        children = _pairs(owner).where(Job.parent_image_id.in_(parents)).order_by(Image.id).limit(left + 1)
        rows, depth = _read(database, children), depth + 1
        found += [Relative(image.id, depth, (image, job)) for image, job in rows[:left]]
        if len(rows) > left:
            return found, True
        parents = [image.id for image, _ in rows]
    return found, bool(parents)


def _pairs(owner: str | None) -> Select[Image, Job]:
    pairs = select(Image, Job).join(Job, Image.job_id == Job.id)
    return pairs if owner is None else pairs.where(Image.owner == owner)


def _read(database: Database, query: Select[Image, Job]) -> Sequence[tuple[Image, Job]]:
    with database.read() as session:
        return [(image, job) for image, job in session.execute(query)]
