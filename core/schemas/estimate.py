"""Schema of an estimate: what a request would cost, before it is submitted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.schemas.base import ResponseBody


class Estimate(ResponseBody):
    """POST /v1/estimate: what the farm expects of a job, from recent jobs. Nothing is queued."""

    model: str
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    num_images: int
    seconds: float | None = Field(description="To render all its images; null while there is nothing to estimate from.")
    basis: Literal["same-settings", "scaled", "expected", "none"] = Field(
        description="Recent jobs of the same settings; recent jobs of the model, scaled by pixels, steps and guidance; what "
        "a CPU worker expects; nothing."
    )
    wait_seconds: float | None = Field(description="Before it starts: jobs that wait before it, and loading the model.")
    position: int = Field(description="Its place among the model's queued jobs, 1 is next.")
    memory_gb: float | None = Field(description="Most memory that the model's engine has taken lately, in 10^9 bytes.")
    cost_factor: float = Field(description="Its cost divided by that of an image of the model's defaults.")
    reason: str | None = Field(description="Why it would wait, apart from jobs before it.")
    warnings: list[str]
