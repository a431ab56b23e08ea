"""Schemas of stored images and of uploaded init images."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from core.lifecycle import JobKind
from core.render import SafetyRecord
from core.schemas.base import RequestBody, ResponseBody
from core.schemas.jobs import Parent


class Image(ResponseBody):
    """A stored image and how it was rendered: `input` is that of its job, with this image's own seed."""

    id: str
    job_id: str
    index: int
    seed: int
    width: int
    height: int
    format: str
    bytes: int
    sha256: str
    rating: int | None = Field(None, description="1 to 5 stars.")
    kind: JobKind = Field(JobKind.RENDER, description="What made it: a render or an upscale job.")
    safety: SafetyRecord | None = Field(None, description="Tags or blurring by the farm's safety hook.")
    model: str
    parent: Parent | None = Field(None, description="What it was made from.")
    input: dict[str, Any]
    record: dict[str, Any] = Field(description="How it was rendered: device, versions, batch sizes, timings.")
    notice: str | None = None
    created_at: datetime
    url: str
    content_url: str
    thumbnail_url: str


class ImageChange(RequestBody):
    """PATCH /v1/images/{id}. `null` removes the rating."""

    rating: int | None = Field(ge=1, le=5)


class Upload(ResponseBody):
    """An image for image-to-image: send `id` as `init_image` with a job, or as `mask` for inpainting."""

    id: str
    width: int
    height: int
    bytes: int
    sha256: str
    created_at: datetime
