"""Schemas of upscale jobs and of upscalers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, JsonValue, model_validator

from core.queue import PRIORITY_DEFAULT, PRIORITY_HIGHEST, PRIORITY_LOWEST
from core.schemas.base import RequestBody, ResponseBody, Text
from core.schemas.jobs import Label
from core.schemas.webhooks import JobWebhook

_ID = 36
_SOURCES = ("image", "upload", "images", "uploads")
EXAMPLE: dict[str, JsonValue] = {
    "image": "0199c0de-0000-7000-8000-000000000001",
    "scale": 4,
    "upscaler": "realesrgan-x4plus",
}


class UpscaleRequest(RequestBody):
    """POST /v1/upscales: enlarge one image of the farm or one upload, or many as a batch."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    image: Text | None = Field(None, max_length=_ID, description="An image of yours on this farm.")
    upload: Text | None = Field(None, max_length=_ID, description="An id from POST /v1/uploads.")
    images: list[Text] = Field(default_factory=list, max_length=10_000, description="Many images of yours: a batch.")
    uploads: list[Text] = Field(default_factory=list, max_length=10_000, description="Many uploads: a batch.")
    scale: int = Field(4, description="2, 3 or 4: factor of width and height.")
    upscaler: Text | None = Field(None, max_length=100, description="Id from /v1/upscalers. Default: `realesrgan-x4plus`.")
    name: Label | None = Field(None, description="Of the batch.")
    priority: int = Field(PRIORITY_DEFAULT, ge=PRIORITY_LOWEST, le=PRIORITY_HIGHEST)
    deadline_seconds: float | None = Field(None, gt=0, le=31_536_000, allow_inf_nan=False)
    metadata: dict[Label, Label] = Field(default_factory=dict, max_length=32)
    webhook: JobWebhook | None = Field(None, description="Receives a message when each job settles.")

    @model_validator(mode="after")
    def _has_one_source(self) -> UpscaleRequest:
        given = [name for name in _SOURCES if getattr(self, name)]
        if self.is_batch and set(given) <= {"images", "uploads"}:
            return self
        if len(given) != 1:
            raise ValueError(
                "names no image: send image with the id of one of yours, or upload with an id from POST /v1/uploads"
                if not given
                else f"names {' and '.join(given)}: send image or upload, or for a batch images and uploads"
            )
        return self

    @property
    def is_batch(self) -> bool:
        """Whether the response is a batch rather than a job."""
        return bool(self.images or self.uploads)

    def as_sent(self) -> dict[str, Any]:
        """Return the fields that the caller set, as JSON values."""
        return self.model_dump(mode="json", exclude_unset=True)


class Upscaler(ResponseBody):
    """An upscaler. `origin`: imagefarm's own code, a package with weights, or a weight file of yours."""

    id: str
    title: str
    about: str
    scales: list[int]
    licence: str
    origin: Literal["builtin", "package", "file"]
    installed: bool = Field(description="Whether a live worker or the API's machine has its weights.")
    default: bool
    workers: list[str] = Field(description="Live workers that had its weights when they started.")


class UpscalerList(ResponseBody):
    """Upscalers, the default first."""

    items: list[Upscaler]
    max_pixels: int = Field(description="Largest result on this farm.")
