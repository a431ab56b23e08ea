"""Read and rate images."""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.orm import Session

from core.errors import NotFound
from db.database import Database
from db.jobs.read import raise_if_deleted
from db.tables import Image


def get_image(database: Database, image_id: str, owner: str | None = None) -> Image:
    """Return the image's row. Raises NotFound if it does not exist or is another owner's, Gone if it was deleted."""
    with database.read() as session:
        return find_image(session, image_id, owner)


def find_image(session: Session, image_id: str, owner: str | None = None) -> Image:
    """Return the image like `get_image`, in the caller's session."""
    image = session.get(Image, image_id)
    if image is not None and owner in (None, image.owner):
        return image
    if image is None:
        raise_if_deleted(session, image_id, "image", owner)
    raise NotFound(f"There is no image {image_id}.", code="image_not_found")


def rate(database: Database, image_id: str, rating: int | None, owner: str | None = None) -> Image:
    """Set the rating, or remove it with None. Raises NotFound or Gone like `get_image`."""
    with database.write() as session:
        find_image(session, image_id, owner)
        change = update(Image).where(Image.id == image_id).values(rating=rating).returning(Image)
        rated = session.scalar(change.execution_options(populate_existing=True))
        return rated or find_image(session, image_id, owner)  # which raises when it was deleted in between
