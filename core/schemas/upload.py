"""Uploads as the API shows them."""

from __future__ import annotations

from datetime import datetime

from core.schemas.base import Answer


class Upload(Answer):
    """A picture to start from: send `id` as `init_image` with a job."""

    id: str
    width: int
    height: int
    bytes: int
    sha256: str
    created_at: datetime
