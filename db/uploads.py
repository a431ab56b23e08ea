"""Add, read and remove uploads of images and masks for image-to-image."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from core.errors import InvalidInput, NotFound
from db.database import Database
from db.jobs.read import raise_if_deleted
from db.sql import insert_ignore, lock_name, now
from db.tables import Tombstone, Upload


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


def add_upload(database: Database, new: NewUpload, limit_bytes: int = 0) -> Upload:
    """Insert the upload's row. Raises InvalidInput like `check_quota`, also when several calls at once would exceed it."""
    with database.write() as session:
        if limit_bytes:
            lock_name(session, f"uploads:{new.owner}")
            _check_quota(session, new.owner, new.bytes, limit_bytes)
        values = {name: getattr(new, name) for name in NewUpload.__dataclass_fields__}
        return session.scalars(insert(Upload).values(**values, created_at=now()).returning(Upload)).one()


def check_quota(database: Database, owner: str, size: int, limit_bytes: int) -> None:
    """Raise InvalidInput `upload_quota_exceeded` when `size` more bytes exceed the owner's limit; 0 for no limit."""
    with database.read() as session:
        if limit_bytes:
            _check_quota(session, owner, size, limit_bytes)


def _check_quota(session: Session, owner: str, size: int, limit_bytes: int) -> None:
    used = int(session.scalar(select(func.coalesce(func.sum(Upload.bytes), 0)).where(Upload.owner == owner)) or 0)
    if used + size > limit_bytes:
        raise InvalidInput(
            f"Your uploads take {used / 1e6:.1f} MB, and with this one ({size / 1e6:.1f} MB) they would exceed the limit of "
            f"{limit_bytes / 1e6:.1f} MB. Delete uploads with DELETE /v1/uploads/{{upload_id}}, or the jobs that use them; "
            "the operator can raise IMAGEFARM_MAX_UPLOAD_BYTES_PER_OWNER.",
            code="upload_quota_exceeded",
        )


def get_upload(database: Database, upload_id: str, owner: str | None = None) -> Upload:
    """Return the upload. Raises NotFound if it does not exist or is another owner's, Gone if it was deleted."""
    with database.read() as session:
        upload = session.get(Upload, upload_id)
        if upload is None:
            raise_if_deleted(session, upload_id, "upload", owner)
    if upload is None or owner not in (None, upload.owner):
        raise NotFound(f"There is no upload {upload_id}.", code="upload_not_found")
    return upload


def remove_upload(database: Database, upload: Upload) -> None:
    """Delete the upload's row; the caller deletes its file afterwards."""
    with database.write() as session:
        delete_uploads(session, [upload])


def delete_uploads(session: Session, uploads: list[Upload]) -> None:
    """Delete rows in the caller's transaction; the API answers 410 for their ids from then on."""
    for upload in uploads:
        insert_ignore(session, Tombstone, id=upload.id, kind="upload", owner=upload.owner, deleted_at=now())
    session.execute(delete(Upload).where(Upload.id.in_([upload.id for upload in uploads])))
