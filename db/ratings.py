"""Stars on images."""

from __future__ import annotations

from sqlalchemy import update

from db.database import Database
from db.images import find_image
from db.tables import Image


def rate(database: Database, image_id: str, rating: int | None, owner: str | None = None) -> Image:
    """Sets or takes away the rating; NotFound or Gone as `get_image`."""
    with database.write() as session:
        image = find_image(session, image_id, owner)
        session.execute(update(Image).where(Image.id == image_id).values(rating=rating))
        session.refresh(image)
        return image
