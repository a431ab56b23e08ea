"""A job as the API shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from core.lifecycle import JobStatus
from core.schemas.base import Answer


class QueuePlace(Answer):
    """Why a queued job waits. `position` counts from 1 among the jobs of its model."""

    position: int | None
    eta_seconds: float | None = Field(description="Until it ends, guessed from recent jobs; null when nobody can tell.")
    reason: str
    capable_workers: list[str]


class Progress(Answer):
    """How far the running attempt is; `value` is 0 to 1 over all images of the job."""

    value: float
    step: int
    steps: int
    seconds_per_step: float | None = None
    eta_seconds: float | None = None
    preview_url: str | None = None


class Timings(Answer):
    """Seconds spent so far, by stage."""

    queued_seconds: float | None = None
    loading_seconds: float | None = Field(
        None, description="Of queued_seconds: while the worker that rendered it was loading its model."
    )
    rendering_seconds: float | None = None
    storing_seconds: float | None = None
    total_seconds: float | None = None


class Output(Answer):
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
    url: str = Field(description="The image's metadata.")
    content_url: str = Field(description="The file itself.")
    thumbnail_url: str


class JobError(Answer):
    """Why it failed, is held, or is being tried again."""

    code: str
    message: str
    retryable: bool


class JobUrls(Answer):
    """Where to go from here."""

    self: str
    events: str
    cancel: str
    retry: str


class Job(Answer):
    """One job. `input` is complete: with its seed it can be rendered again."""

    id: str
    status: JobStatus
    revision: int = Field(description="Grows with each change of the job.")
    model: str
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
    outputs: list[Output]
    error: JobError | None = None
    warnings: list[str]
    notice: str | None = Field(None, description="What everyone who shows the pictures must know, such as: demo, noise.")
    worker: str | None = None
    batch_id: str | None = None
    retried_from: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    deadline_at: datetime | None = None
    urls: JobUrls


class JobPage(Answer):
    """Jobs, newest first; pass `next_cursor` as `cursor` for the page after."""

    items: list[Job]
    next_cursor: str | None = None


class JobHistoryEvent(Answer):
    """One thing that happened to a job."""

    revision: int
    at: datetime
    from_status: JobStatus | None
    to_status: JobStatus
    attempt: int
    worker: str | None
    code: str | None
    message: str | None


class Attempt(Answer):
    """One try by one worker."""

    number: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    error: JobError | None = None


class JobHistory(Answer):
    """Everything that happened to a job."""

    events: list[JobHistoryEvent]
    attempts: list[Attempt]
