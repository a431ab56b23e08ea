"""Schemas of stored images, of uploaded init images, and of what an image says about how it was made."""

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


class ImageParameters(ResponseBody):
    """POST /v1/parameters."""

    source: str | None = Field(
        None,
        description="Program that made it: `imagefarm`, `a1111` (and Forge, SD.Next), `comfyui`, `invokeai`, `fooocus`, "
        "`novelai`, `civitai`; null when the file does not say.",
    )
    fields: dict[str, Any] = Field(
        default_factory=dict, description="Fields of a job, to send to POST /v1/jobs as they are."
    )
    unmapped: dict[str, Any] = Field(
        default_factory=dict,
        description="What no field of a job stands for, by the program's names; long values are cut.",
    )
    warnings: list[str] = Field(default_factory=list, description="What to know before the fields are used.")
