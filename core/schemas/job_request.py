"""What a caller sends to have images rendered."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, AliasChoices, ConfigDict, Field, JsonValue, field_validator

from core.queue import PRIORITY_DEFAULT, PRIORITY_HIGHEST, PRIORITY_LOWEST
from core.schemas.base import Request, Text, storable
from core.schemas.webhook import JobWebhook

_MAX_METADATA = 32
EXAMPLE: dict[str, JsonValue] = {
    "prompt": "a red fox asleep in snow, soft morning light",
    "width": 512,
    "height": 512,
    "num_inference_steps": 8,
    "seed": -1,
}


def _label(text: str) -> str:
    if len(text) > 500:
        raise ValueError("must be at most 500 characters")
    return storable(text)


Label = Annotated[str, AfterValidator(_label)]


class RenderFields(Request):
    """What to render. Everything but the prompt may be left out: the preset, then the model's defaults, fill it in."""

    prompt: Text = Field(description="What to paint, in English or Chinese.")
    negative_prompt: Text | None = Field(None, description="What to avoid; has an effect only while guidance is on.")
    model: Text | None = Field(None, max_length=100, description="Id or alias from /v1/models. Default: the farm's own.")
    preset: Text | None = Field(None, max_length=100, description="Id from /v1/presets; what you send beside it wins.")
    size: Text | None = Field(None, max_length=32, description='`"512x512"`: width x height in pixels.')
    width: int | None = Field(None, description="Pixels.")
    height: int | None = Field(None, description="Pixels.")
    num_inference_steps: int | None = Field(
        None, validation_alias=AliasChoices("num_inference_steps", "steps"), description="Denoising steps."
    )
    guidance_scale: float | None = Field(
        None,
        allow_inf_nan=False,
        validation_alias=AliasChoices("guidance_scale", "cfg_scale"),
        description="Conventional guidance: 1.0 is off.",
    )
    seed: int = Field(-1, description="-1 draws one; image i of a job gets seed + i.")
    num_images: int = Field(
        1, validation_alias=AliasChoices("num_images", "n"), description="Images of this job, each with its own seed."
    )
    init_image: Text | None = Field(None, max_length=36, description="Image-to-image: an id from POST /v1/uploads.")
    strength: float | None = Field(
        None, allow_inf_nan=False, description="Image-to-image: 0 keeps the picture, 1 ignores it."
    )
    start_sigma: float | None = Field(
        None,
        allow_inf_nan=False,
        examples=[0.5],
        description="Image-to-image with Z-Image, in place of strength: the noise level (above 0, at most 1) at which all "
        "num_inference_steps begin.",
    )
    strict: bool = Field(False, description="Render alone, so that the same seed gives the same bits on the same stack.")

    model_config = ConfigDict(populate_by_name=True)

    @field_validator("seed", "width", "height", "num_inference_steps", "num_images")
    @classmethod
    def _fits(cls, value: int | None) -> int | None:
        if value is not None and not -(2**53) < value < 2**53:
            raise ValueError("is far outside any range: send a smaller number")
        return value


class JobRequest(RenderFields):
    """POST /v1/jobs: one request for one or more images."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    priority: int = Field(
        PRIORITY_DEFAULT, ge=PRIORITY_LOWEST, le=PRIORITY_HIGHEST, description="0 to 9, 9 is the most urgent."
    )
    deadline_seconds: float | None = Field(
        None, gt=0, le=31_536_000, allow_inf_nan=False, description="Expires when it has not started within this time."
    )
    metadata: dict[Label, Label] = Field(
        default_factory=dict, max_length=_MAX_METADATA, description="Yours: stored and returned, not interpreted."
    )

    webhook: JobWebhook | None = Field(None, description="Where to tell of its end.")

    def as_sent(self) -> dict[str, Any]:
        """The fields that the caller set, as JSON values."""
        return self.model_dump(mode="json", exclude_unset=True)
