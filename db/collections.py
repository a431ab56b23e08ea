"""Add, list, rename and delete collections of images, and change which images they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from core.errors import Conflict, NotFound
from core.ids import new_id
from db.database import Database
from db.images import find_image
from db.sql import insert_ignore, lock_name, now
from db.tables import Collection, CollectionImage

MAX_PER_OWNER = 1000


@dataclass(frozen=True)
class CountedCollection:
    """A collection, how many images it holds, and the one that was added last."""

    collection: Collection
    images: int
    cover: str | None


def list_collections(database: Database, owner: str) -> list[CountedCollection]:
    """Return the owner's collections by name."""
    counts = (
        select(
            CollectionImage.collection_id, func.count().label("images"), func.max(CollectionImage.image_id).label("cover")
        )
        .group_by(CollectionImage.collection_id)
        .subquery()
    )
    query = (
        select(Collection, counts.c.images, counts.c.cover)
        .outerjoin(counts, counts.c.collection_id == Collection.id)
        .where(Collection.owner == owner)
        .order_by(Collection.name)
    )
    with database.read() as session:
        return [CountedCollection(row, images or 0, cover) for row, images, cover in session.execute(query)]


def add_collection(database: Database, owner: str, name: str) -> CountedCollection:
    """Add an empty collection. Raises Conflict `collection_exists`, or `too_many_collections` at the limit."""
    with database.write() as session:
        lock_name(session, f"collections:{owner}")
        _check_name(session, owner, name)
        if (
            session.scalar(select(func.count()).select_from(Collection).where(Collection.owner == owner)) or 0
        ) >= MAX_PER_OWNER:
            raise Conflict(
                f"There are {MAX_PER_OWNER} collections, the limit: delete some first.", code="too_many_collections"
            )
        values = {"id": new_id(), "owner": owner, "name": name, "created_at": now()}
        return CountedCollection(session.scalars(insert(Collection).values(**values).returning(Collection)).one(), 0, None)


def change_collection(
    database: Database,
    collection_id: str,
    owner: str,
    *,
    name: str | None = None,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    image_owner: str | None = None,
) -> CountedCollection:
    """Rename a collection, add and remove images, all or nothing.

    `image_owner`: whose images may be added, None for all. Raises NotFound for the collection or an image, Conflict for the
    name.
    """
    with database.write() as session:
        row = _find(session, collection_id, owner)
        if name is not None and name != row.name:
            lock_name(session, f"collections:{owner}")
            _check_name(session, owner, name)
            session.execute(update(Collection).where(Collection.id == collection_id).values(name=name))
        for image_id in dict.fromkeys(add):
            find_image(session, image_id, image_owner)
            insert_ignore(session, CollectionImage, collection_id=collection_id, image_id=image_id, added_at=now())
        if remove:
            those = CollectionImage.image_id.in_(list(remove))
            session.execute(delete(CollectionImage).where(CollectionImage.collection_id == collection_id, those))
        session.refresh(row)
        counted = select(func.count(), func.max(CollectionImage.image_id))
        images, cover = session.execute(counted.where(CollectionImage.collection_id == collection_id)).one()
        return CountedCollection(row, images, cover)


def delete_collection(database: Database, collection_id: str, owner: str) -> None:
    """Delete a collection; its images stay. Raises NotFound."""
    with database.write() as session:
        _find(session, collection_id, owner)
        session.execute(delete(Collection).where(Collection.id == collection_id))


def _find(session: Session, collection_id: str, owner: str) -> Collection:
    row = session.get(Collection, collection_id)
    if row is None or row.owner != owner:
        raise NotFound("You have no collection of this id; GET /v1/collections lists them.", code="collection_not_found")
    return row


def _check_name(session: Session, owner: str, name: str) -> None:
    if session.scalar(select(Collection.id).where(Collection.owner == owner, Collection.name == name)) is not None:
        raise Conflict(f"There is a collection '{name}' already: choose another name.", code="collection_exists")
