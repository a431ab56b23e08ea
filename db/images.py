"""Read and rate images."""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.orm import Session

from core.errors import NotFound
from db.database import Database
from db.jobs.read import raise_if_gone
from db.tables import Image


def get_image(database: Database, image_id: str, owner: str | None = None) -> Image:
    """The image's row; NotFound when there is none (or not this owner's), Gone when it has been deleted."""
    with database.read() as session:
        return find_image(session, image_id, owner)


def find_image(session: Session, image_id: str, owner: str | None = None) -> Image:
    """As `get_image`, inside the caller's session."""
    image = session.get(Image, image_id)
    if image is not None and owner in (None, image.owner):
        return image
    if image is None:
        raise_if_gone(session, image_id, "image", owner)
    raise NotFound(f"There is no image {image_id}.", code="image_not_found")


def rate(database: Database, image_id: str, rating: int | None, owner: str | None = None) -> Image:
    """Sets or takes away the rating; NotFound or Gone as `get_image`."""
    with database.write() as session:
        image = find_image(session, image_id, owner)
        session.execute(update(Image).where(Image.id == image_id).values(rating=rating))
        session.refresh(image)
        return image
