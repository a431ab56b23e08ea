"""Metadata of an image file: imagefarm's own record, from which all other metadata texts are derived."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from core.render import LoraRequest, NoiseSource, RenderRecord

SCHEMA_VERSION = 1


class ImageMetadata(BaseModel):
    """Everything needed to render the image again; written as JSON under the key `imagefarm`.

    Readers ignore unknown fields. `schema_version` increases only when a field changes its meaning.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = SCHEMA_VERSION
    prompt: str
    negative_prompt: str = ""
    seed: int
    num_inference_steps: int
    guidance_scale: float = Field(1.0, description="on the conventional scale: 1.0 means off")
    width: int = Field(description="pixels")
    height: int = Field(description="pixels")
    model: str = Field(description="id in the farm's catalogue")
    random_weights: bool = Field(False, description="the model was never trained: the image is noise")
    weights_revision: str | None = None
    scheduler: str | None = Field(None, description="diffusers class name")
    strength: float | None = Field(None, description="of image-to-image; none for text-to-image")
    start_sigma: float | None = Field(None, description="of image-to-image, in place of strength: noise level of the start")
    loras: tuple[LoraRequest, ...] = ()
    variation_seed: int | None = Field(None, description="its noise is mixed into that of the seed")
    variation_strength: float | None = Field(None, description="0 to 1: how much of it")
    coherent: NoiseSource | None = Field(None, description="noise of a smaller image that this one's follows")
    parent: str | None = Field(None, description="id of the image that this one was made from")
    upscaler: str | None = Field(
        None, description="id of the upscaler that enlarged it, or its parent before image-to-image"
    )
    upscale: int | None = Field(None, description="factor of an enlargement; the fields above are then its parent's")
    job_id: str | None = None
    attempt: int | None = None
    index: int | None = Field(None, description="of the image in its job, from 0")
    created_at: datetime | None = None
    farm_version: str | None = None
    record: RenderRecord | None = Field(None, description="device, number format, versions and batch sizes")

    def to_json(self) -> str:
        """Return compact JSON without the fields that are None."""
        return self.model_dump_json(exclude_none=True)


def from_json(text: str) -> ImageMetadata:
    """Read what `to_json` wrote, by this or another version. Raises ValueError."""
    return ImageMetadata.model_validate_json(text)


class Parameters(BaseModel):
    """Settings read from A1111's text. `settings` has every pair unchanged; typed fields are None when unreadable."""

    prompt: str = ""
    negative_prompt: str = ""
    settings: dict[str, str] = Field(default_factory=dict)
    seed: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    width: int | None = None
    height: int | None = None
    model: str | None = None
    strength: float | None = None
    start_sigma: float | None = None
    variation_seed: int | None = None
    variation_strength: float | None = None


class FileMetadata(BaseModel):
    """Metadata found in a file of any tool. `imagefarm` and `parameters` are None when the file has none."""

    format: str = Field(description="PNG, JPEG or WEBP")
    width: int
    height: int
    ai_generated: bool = Field(description="its XMP names a trained algorithm as the source")
    imagefarm: ImageMetadata | None = None
    parameters: Parameters | None = None
    parameters_text: str | None = None

    def settings(self) -> dict[str, Any]:
        """Return the settings to render such an image again, by the API's field names: imagefarm's record, else A1111's."""
        source = self.imagefarm or self.parameters
        fields = set(Parameters.model_fields) - {"settings"}
        loras = {"loras"} if self.imagefarm and self.imagefarm.loras else set()
        return source.model_dump(mode="json", include=fields | loras, exclude_none=True) if source else {}
