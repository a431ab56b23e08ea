"""Schemas of batches: many jobs in one call."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AllowInfNan, BaseModel, ConfigDict, Field, JsonValue, model_validator

from core.lifecycle import JobStatus
from core.queue import PRIORITY_DEFAULT, PRIORITY_HIGHEST, PRIORITY_LOWEST
from core.schemas.base import RequestBody, ResponseBody, Text, names_of
from core.schemas.jobs import Label, Output, RenderFields
from core.schemas.loras import JobLora
from core.schemas.webhooks import JobWebhook

Finite = Annotated[float, AllowInfNan(False)]


class BatchBase(RenderFields):
    """Fields that all jobs of a batch share; the prompt may come from `prompts` instead."""

    prompt: Text = Field("", description="Used when `prompts` is empty.")


JOB_FIELD = "is a field of the batch's jobs: put it into `base`."


def is_job_field(name: str, request: type[BaseModel]) -> bool:
    """Return whether a request has a `base` of jobs to which a field that it does not know belongs."""
    return request is BatchRequest and name in names_of(BatchBase)


class Axes(RequestBody):
    """Values to combine: every combination becomes a job."""

    model: list[Text] = Field(default_factory=list, max_length=1000)
    preset: list[Text] = Field(default_factory=list, max_length=1000)
    recipe: list[Text] = Field(default_factory=list, max_length=1000)
    size: list[Text] = Field(default_factory=list, max_length=1000)
    num_inference_steps: list[int] = Field(default_factory=list, max_length=1000)
    guidance_scale: list[Finite] = Field(default_factory=list, max_length=1000)
    strength: list[Finite] = Field(default_factory=list, max_length=1000)
    start_sigma: list[Finite] = Field(default_factory=list, max_length=1000)
    variation_seed: list[int] = Field(default_factory=list, max_length=1000)
    variation_strength: list[Finite] = Field(default_factory=list, max_length=1000)
    negative_prompt: list[Text] = Field(default_factory=list, max_length=1000)
    loras: list[list[JobLora]] = Field(
        default_factory=list, max_length=1000, description="Each value is a list; `[]` means no LoRA."
    )
    prompt_sr: list[Text] = Field(
        default_factory=list,
        max_length=1000,
        description="Search and replace: the first text is searched for in the prompts and replaced by each of the texts.",
    )
    styles: list[list[Text]] = Field(
        default_factory=list, max_length=1000, description="Each value is a list of names; `[]` means no style."
    )


_EXAMPLE: dict[str, JsonValue] = {
    "name": "fox, day and night",
    "prompts": ["a red fox by day", "a red fox by night"],
    "seeds": [1, 2],
    "axes": {"num_inference_steps": [4, 8]},
    "base": {"width": 256, "height": 256},
}


class BatchRequest(RequestBody):
    """POST /v1/batches: prompts x seeds x axes over `base`, or a list of jobs, or both."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: Label | None = None
    prompts: list[Text] = Field(default_factory=list, max_length=10_000)
    seeds: list[int] = Field(default_factory=list, max_length=10_000)
    axes: Axes = Field(default_factory=Axes)
    base: BatchBase | None = Field(None, description="Fields of POST /v1/jobs that all of them share.")
    jobs: list[RenderFields] = Field(default_factory=list, max_length=10_000, description="Jobs listed one by one.")
    matrix: bool = Field(
        False,
        description="Prompt matrix: `a street | at night | in rain` is rendered with every combination of the parts after "
        "the first `|`. Takes one prompt.",
    )
    shared_seed: bool = Field(
        True,
        description="Without `seeds`, one seed is drawn for all jobs; with false, one for each.",
    )
    priority: int = Field(PRIORITY_DEFAULT, ge=PRIORITY_LOWEST, le=PRIORITY_HIGHEST)
    deadline_seconds: float | None = Field(None, gt=0, le=31_536_000, allow_inf_nan=False)
    metadata: dict[Label, Label] = Field(default_factory=dict, max_length=32)
    webhook: JobWebhook | None = Field(None, description="Receives a message when each of its jobs settles.")

    @model_validator(mode="after")
    def _has_jobs(self) -> BatchRequest:
        if not self.prompts and self.base is None and not self.jobs:
            raise ValueError("is empty: send prompts, or base with a prompt, or jobs")
        return self


class BatchItem(ResponseBody):
    """One job of a batch; `axes` are its values on the batch's axes."""

    index: int
    job_id: str
    status: JobStatus
    axes: dict[str, Any]
    outputs: list[Output]
    url: str


class AxisRating(ResponseBody):
    """Images with one value of an axis, and the mean of those that are rated, 1 to 5."""

    axis: str
    value: Any
    label: str = Field(description="The value in words.")
    images: int
    rated: int
    mean_rating: float | None


class BatchUrls(ResponseBody):
    """Links of the batch."""

    self: str
    cancel: str
    contact_sheet: str
    ratings: str


class Batch(ResponseBody):
    """A batch; `value` (0 to 1) is the share of its jobs that have settled."""

    id: str
    name: str | None
    owner: str
    status: Literal["running", "finished"]
    total: int
    counts: dict[JobStatus, int]
    value: float
    created_at: datetime
    jobs: list[BatchItem]
    ratings: list[AxisRating] = Field(default_factory=list, description="For each axis that varies; absent in lists.")
    urls: BatchUrls


class BatchPage(ResponseBody):
    """Batches, newest first, without their jobs."""

    items: list[Batch]
    next_cursor: str | None = None
