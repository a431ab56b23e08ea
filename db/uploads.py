"""Add, read and remove uploads of images for image-to-image."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, insert

from core.errors import NotFound
from db.database import Database
from db.sql import now
from db.tables import Upload


@dataclass(frozen=True)
class NewUpload:
    """An upload whose file is already in the store of uploads."""

    id: str
    owner: str
    key: str
    width: int
    height: int
    bytes: int
    sha256: str


def add_upload(database: Database, new: NewUpload) -> Upload:
    """Insert the upload's row."""
    with database.write() as session:
        values = {name: getattr(new, name) for name in NewUpload.__dataclass_fields__}
        return session.scalars(insert(Upload).values(**values, created_at=now()).returning(Upload)).one()


def get_upload(database: Database, upload_id: str, owner: str | None = None) -> Upload:
    """Return the upload. Raises NotFound when it does not exist or belongs to another owner."""
    with database.read() as session:
        upload = session.get(Upload, upload_id)
    if upload is None or owner not in (None, upload.owner):
        raise NotFound(f"There is no upload {upload_id}.", code="upload_not_found")
    return upload


def remove_upload(database: Database, upload_id: str) -> None:
    """Delete the upload's row; the caller deletes its file."""
    with database.write() as session:
        session.execute(delete(Upload).where(Upload.id == upload_id))
