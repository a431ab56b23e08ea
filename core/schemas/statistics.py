"""Schemas of the farm's history: throughput, waits, queues by owner, events."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from core.schemas.base import ResponseBody


class Bucket(ResponseBody):
    """Jobs that ended within one span of time. Means are over those that succeeded; null without any."""

    start: datetime
    succeeded: int
    failed: int = Field(description="Failed or expired.")
    wait_seconds: float | None = Field(description="Mean from submit to start.")
    run_seconds: float | None = Field(description="Mean from start to end.")


class QueueOfOwner(ResponseBody):
    """Open jobs of one owner for one model."""

    model: str
    owner: str
    queued: int
    running: int
    held: int


class FarmEvent(ResponseBody):
    """An event for operators: a lost, failed or quarantined worker, a lost attempt, or a held job."""

    at: datetime
    kind: str = Field(
        description="worker_lost, worker_failed, worker_quarantined, job_held, attempt_failed or worker_excluded."
    )
    worker: str | None
    job_id: str | None
    message: str


class Statistics(ResponseBody):
    """GET /v1/statistics."""

    hours: int
    bucket_seconds: int
    buckets: list[Bucket]
    queues: list[QueueOfOwner]
    events: list[FarmEvent] = Field(description="Newest first, at most 100.")
    truncated: bool = Field(description="More jobs ended than are counted: the oldest buckets are not complete.")
