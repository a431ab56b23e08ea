"""Schema of what an autoscaler needs to know."""

from __future__ import annotations

from pydantic import Field

from core.schemas.base import ResponseBody


class ScalingOfModel(ResponseBody):
    """Load of one model. `open_jobs`: queued and running jobs; `desired_workers`: how many workers these need."""

    model: str
    queued: int
    running: int
    open_jobs: int
    live_workers: int
    desired_workers: int
    cold_start_seconds: float | None = Field(
        None, description="the longest time that a worker of this model took from its start until it claimed jobs"
    )


class Scaling(ResponseBody):
    """GET /v1/scaling: the sum over the models, and each of them. Held jobs need no worker and do not count."""

    queued: int
    running: int
    open_jobs: int
    live_workers: int
    desired_workers: int
    cold_start_seconds: float | None = None
    cooldown_seconds: int = Field(description="how long to wait before the last workers are stopped, at least")
    models: list[ScalingOfModel]
