"""Schemas of refining an image at a larger size, and of the lineage of an image."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import AliasChoices, ConfigDict, Field, JsonValue

from core.queue import PRIORITY_DEFAULT, PRIORITY_HIGHEST, PRIORITY_LOWEST
from core.refine_mode import RefineMode
from core.schemas.base import RequestBody, ResponseBody, Text
from core.schemas.jobs import MAX_METADATA, Label
from core.schemas.webhooks import JobWebhook

EXAMPLE: dict[str, JsonValue] = {"mode": "hires", "width": 1024, "height": 1024}


class RefineRequest(RequestBody):
    """POST /v1/images/{image_id}/refine. What is not named here is the parent's: prompt, model, guidance, LoRAs."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]}, populate_by_name=True)

    mode: RefineMode = Field(
        RefineMode.HIRES,
        description="`hires` enlarges the image and renders image-to-image over it; `coherent` renders anew from noise "
        "with the coarse structure of the parent's; `same_seed` renders a new composition at the new size.",
    )
    width: int | None = Field(
        None, ge=1, le=2**20, description="Pixels. Default: twice the parent's, or what the model can."
    )
    height: int | None = Field(None, ge=1, le=2**20, description="Pixels.")
    upscaler: Text | None = Field(
        None,
        max_length=100,
        description="Of `hires`: what enlarges the image, by its id from /v1/upscalers. Default: lanczos.",
    )
    start_sigma: float | None = Field(
        None, allow_inf_nan=False, description="Of `hires` with Z-Image: the noise level to start at. Default: 0.5."
    )
    strength: float | None = Field(
        None, allow_inf_nan=False, description="Of `hires`: 0 keeps the image, 1 ignores it. Default: 0.4."
    )
    num_inference_steps: int | None = Field(
        None,
        validation_alias=AliasChoices("num_inference_steps", "steps"),
        description="Default: the parent's; of `hires` with a start sigma that share of them.",
    )
    seed: int | None = Field(None, description="Default: the parent's; -1 draws one.")
    num_images: int = Field(
        1, validation_alias=AliasChoices("num_images", "n"), description="Images, each with its own seed."
    )
    priority: int = Field(PRIORITY_DEFAULT, ge=PRIORITY_LOWEST, le=PRIORITY_HIGHEST)
    deadline_seconds: float | None = Field(None, gt=0, le=31_536_000, allow_inf_nan=False)
    metadata: dict[Label, Label] = Field(default_factory=dict, max_length=MAX_METADATA)
    webhook: JobWebhook | None = Field(None, description="Receives a message when the job settles.")

    def as_sent(self) -> dict[str, Any]:
        """Return the fields that the caller set, as JSON values."""
        return self.model_dump(mode="json", exclude_unset=True)


class LineageImage(ResponseBody):
    """An image of a lineage. One that was deleted, or is not yours, is `gone` and has no further fields."""

    id: str
    depth: int = Field(description="Generations from the image that was asked about.")
    gone: bool = False
    parent: str | None = None
    mode: str | None = Field(None, description="How it was refined; null for image-to-image and for enlarging.")
    job_id: str | None = None
    model: str | None = None
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    rating: int | None = None
    created_at: datetime | None = None
    url: str | None = None
    content_url: str | None = None
    thumbnail_url: str | None = None


class Lineage(ResponseBody):
    """What an image was made from and what was made from it."""

    image: LineageImage
    ancestors: list[LineageImage] = Field(description="The nearest first, the last is the root or one that is gone.")
    descendants: list[LineageImage] = Field(description="By generation, the oldest first.")
    truncated: bool = Field(description="There are more than are shown.")
