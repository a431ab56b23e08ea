"""Schemas of jobs: what callers submit and what the API returns."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AliasChoices, ConfigDict, Field, JsonValue, field_validator

from core.lifecycle import JobKind, JobStatus
from core.queue import PRIORITY_DEFAULT, PRIORITY_HIGHEST, PRIORITY_LOWEST
from core.render import SafetyRecord
from core.schemas.base import RequestBody, ResponseBody, Text, storable
from core.schemas.loras import MAX_LORAS, JobLora
from core.schemas.webhooks import JobWebhook
from core.styles.styles import MAX_STYLES

MAX_METADATA = 32
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


class RenderFields(RequestBody):
    """What to render. All but the prompt is optional: the preset, then the model's defaults, fill in the rest."""

    prompt: Text = Field(description="Description of the image, in English or Chinese.")
    negative_prompt: Text | None = Field(None, description="What to avoid; has an effect only while guidance is on.")
    model: Text | None = Field(
        None, max_length=100, description="Id or alias from /v1/models. Default: the farm's default model."
    )
    preset: Text | None = Field(None, max_length=100, description="Id from /v1/presets; fields that you send override it.")
    recipe: Text | None = Field(
        None, max_length=100, description="Id from /v1/recipes: steps and guidance; fields that you send override it."
    )
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
    variation_seed: int | None = Field(
        None,
        description="Seed of the noise that is mixed into that of `seed`; -1 draws one. With variation_strength above 0, "
        "image i gets variation_seed + i, and all images the same seed.",
    )
    variation_strength: float | None = Field(
        None, allow_inf_nan=False, description="0 to 1: how much of it is mixed in. 0 has no effect, 1 is its own image."
    )
    num_images: int = Field(
        1, validation_alias=AliasChoices("num_images", "n"), description="Images of this job, each with its own seed."
    )
    init_image: Text | None = Field(
        None, max_length=36, description="Image-to-image: an id from POST /v1/uploads, or of an image of yours."
    )
    mask: Text | None = Field(
        None,
        max_length=36,
        description="Inpainting: an id from POST /v1/uploads. White areas of init_image are repainted, black ones are kept.",
    )
    mask_feather: int | None = Field(
        None, description="Inpainting: over so many pixels outside the white areas, the new image fades out. Default: 0."
    )
    strength: float | None = Field(
        None,
        allow_inf_nan=False,
        description="Image-to-image: 0 keeps the image, 1 ignores it. Default: 0.6, with a mask 1.",
    )
    start_sigma: float | None = Field(
        None,
        allow_inf_nan=False,
        examples=[0.5],
        description="Image-to-image with Z-Image, in place of strength: the noise level (above 0, at most 1) at which all "
        "num_inference_steps start.",
    )
    loras: list[JobLora] = Field(
        default_factory=list,
        max_length=MAX_LORAS,
        description="LoRAs to apply, each by its name from /v1/loras. `<lora:NAME:SCALE>` in a prompt does the same.",
    )
    styles: list[Text] = Field(
        default_factory=list,
        max_length=MAX_STYLES,
        description="Names from /v1/styles, applied in order: `{prompt}` in a style is replaced, other texts are appended.",
    )
    dynamic: bool = Field(
        False,
        description="Expand variants such as `{red|blue}` and wildcards such as `__color__`, each image by its own seed.",
    )
    strict: bool = Field(False, description="Render alone, so that the same seed gives the same bits on the same stack.")

    model_config = ConfigDict(populate_by_name=True)

    @property
    def may_name_loras(self) -> bool:
        """Whether a LoRA may be named, in the field or by what may be a tag in a prompt."""
        return bool(self.loras) or any("<lora:" in text.lower() for text in (self.prompt, self.negative_prompt or ""))

    @field_validator("seed", "variation_seed", "width", "height", "num_inference_steps", "num_images", "mask_feather")
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
        None, gt=0, le=31_536_000, allow_inf_nan=False, description="The job expires unless it starts within this time."
    )
    metadata: dict[Label, Label] = Field(
        default_factory=dict, max_length=MAX_METADATA, description="Your labels: stored and returned, not interpreted."
    )

    webhook: JobWebhook | None = Field(None, description="Receives a message when the job settles.")

    def as_sent(self) -> dict[str, Any]:
        """Return the fields that the caller set, as JSON values."""
        return self.model_dump(mode="json", exclude_unset=True)


class QueuePlace(ResponseBody):
    """Why a queued job waits. `position` counts from 1 among the jobs of its model."""

    position: int | None
    eta_seconds: float | None = Field(
        description="Until it ends, estimated from the speeds of the workers that can take it, or from recent jobs where "
        "none was measured; null when there is nothing to estimate from."
    )
    reason: str
    capable_workers: list[str]


class Progress(ResponseBody):
    """Progress of the running attempt; `value` is 0 to 1 over all images of the job."""

    value: float
    step: int
    steps: int
    seconds_per_step: float | None = None
    eta_seconds: float | None = None
    preview_url: str | None = None


class Timings(ResponseBody):
    """Seconds spent so far, by stage. Only `total_seconds` includes earlier attempts of a retried job."""

    queued_seconds: float | None = Field(
        None,
        description="While the latest attempt waited for a worker: since the submit, or since a retry's backoff ended.",
    )
    loading_seconds: float | None = Field(
        None, description="Part of queued_seconds in which the worker was loading its model."
    )
    rendering_seconds: float | None = None
    storing_seconds: float | None = None
    total_seconds: float | None = Field(None, description="Since the submit.")


class Parent(ResponseBody):
    """What an image was made from: an image of this farm, which may have been deleted since, or an upload.

    `mode`: how it was refined; null for image-to-image and for enlarging.
    """

    image: str | None = None
    upload: str | None = None
    mode: str | None = None


class Output(ResponseBody):
    """One finished image of a job."""

    id: str
    index: int
    seed: int
    width: int
    height: int
    format: str
    bytes: int
    sha256: str
    rating: int | None = None
    safety: SafetyRecord | None = Field(None, description="Tags or blurring by the farm's safety hook.")
    url: str = Field(description="The image's metadata.")
    content_url: str = Field(description="The file itself.")
    thumbnail_url: str


class JobError(ResponseBody):
    """Why the job failed, is held, or is being retried."""

    code: str
    message: str
    retryable: bool


class JobUrls(ResponseBody):
    """Links of the job."""

    self: str
    events: str
    cancel: str
    retry: str


class Job(ResponseBody):
    """One job. `input` is complete and includes the seed, so that the job can be rendered again."""

    id: str
    status: JobStatus
    revision: int = Field(description="Increases with each change of the job.")
    kind: JobKind = Field(JobKind.RENDER, description="What the job does.")
    model: str = Field(description="Of a job that enlarges an image: `upscale`.")
    owner: str
    priority: int
    attempt: int
    max_attempts: int
    cancel_requested: bool
    input: dict[str, Any]
    metadata: dict[str, str]
    queue: QueuePlace | None = None
    progress: Progress | None = None
    timings: Timings
    parent: Parent | None = Field(None, description="What the job is made from.")
    outputs: list[Output]
    error: JobError | None = None
    warnings: list[str]
    notice: str | None = Field(
        None, description="Text to show next to the images, such as that the demo model renders noise."
    )
    worker: str | None = None
    batch_id: str | None = None
    retried_from: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    deadline_at: datetime | None = None
    urls: JobUrls


class JobPage(ResponseBody):
    """Jobs, newest first; pass `next_cursor` as `cursor` for the next page."""

    items: list[Job]
    next_cursor: str | None = None


class WebhookMessage(ResponseBody):
    """Body of a webhook's message, by the Standard Webhooks specification, unless the farm sends the job alone."""

    type: str = Field(description="The event: `job.succeeded`, `job.failed`, `job.canceled`, `job.expired` or `job.held`.")
    timestamp: datetime = Field(description="When the message was written; the same in every try.")
    data: Job


class JobHistoryEvent(ResponseBody):
    """One event in a job's history."""

    revision: int
    at: datetime
    from_status: JobStatus | None
    to_status: JobStatus
    attempt: int
    worker: str | None
    code: str | None
    message: str | None


class Attempt(ResponseBody):
    """One attempt by one worker."""

    number: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    error: JobError | None = None


class JobHistory(ResponseBody):
    """All events and attempts of a job."""

    events: list[JobHistoryEvent]
    attempts: list[Attempt]
