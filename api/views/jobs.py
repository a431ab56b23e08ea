"""Build the API's views of jobs and their images from rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from api.public_address import link
from core.catalogue import load_catalogue, noise_notice
from core.lifecycle import JobKind, JobStatus
from core.parameters.seeds import input_of_image
from core.render import SafetyRecord
from core.retries import rule_for
from core.schemas.base import iso
from core.schemas.images import Image as ImageAnswer
from core.schemas.jobs import Attempt as AttemptAnswer
from core.schemas.jobs import Job as JobAnswer
from core.schemas.jobs import (
    JobError,
    JobHistory,
    JobHistoryEvent,
    JobUrls,
    Output,
    Parent,
    Progress,
    QueuePlace,
    Timings,
)
from db.jobs.read import Snapshot, queued_seconds
from db.tables import Attempt, Image, Job, JobEvent


def public_input(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters without the storage keys of files."""
    shown = {name: value for name, value in stored.items() if name != "source"}
    given = {name: stored[name] for name in ("init_image", "mask") if stored.get(name) is not None}
    return shown | {name: image.get("image_id") or image["upload_id"] for name, image in given.items()}


@lru_cache(256)
def notice_of(model_id: str) -> str | None:
    """Return the notice to show with every image of this model, if any."""
    model = next((row for row in load_catalogue() if row.id == model_id), None)
    return (noise_notice(model) or None) if model is not None else None


def image_urls(image_id: str) -> dict[str, str]:
    """Return the URLs of the metadata, the file and the thumbnail."""
    base = link(f"/v1/images/{image_id}")
    return {"url": base, "content_url": f"{base}/content", "thumbnail_url": f"{base}/thumbnail"}


def image_view(image: Image, job: Job) -> ImageAnswer:
    """Convert an image; its parameters are those of its job, with its own seed and a count of one."""
    urls: dict[str, Any] = image_urls(image.id)
    return ImageAnswer.model_construct(
        id=image.id,
        job_id=image.job_id,
        index=image.index,
        seed=image.seed,
        width=image.width,
        height=image.height,
        format=image.format,
        bytes=image.bytes,
        sha256=image.sha256,
        rating=image.rating,
        kind=JobKind(job.kind),
        safety=_safety(image),
        model=job.model,
        parent=parent_view(job),
        input=public_input(input_of_image(job.input, image.index)),
        record=image.record,
        notice=_notice(job),
        created_at=iso(image.created_at),  # type: ignore[arg-type]
        **urls,
    )


def job_view(snapshot: Snapshot, queue: QueuePlace | None = None, progress: dict[str, Any] | None = None) -> JobAnswer:
    """Convert a job; `progress` is the worker's last report from Redis."""
    job = snapshot.job
    return JobAnswer.model_construct(
        id=job.id,
        status=JobStatus(job.status),
        revision=job.revision,
        kind=JobKind(job.kind),
        model=job.model,
        owner=job.owner,
        priority=job.priority,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        cancel_requested=job.cancel_requested_at is not None,
        input=public_input(job.input),
        metadata=job.requested.get("metadata", {}),
        queue=queue,
        progress=progress_view(job, progress),
        timings=_timings(job),
        parent=parent_view(job),
        outputs=[output_view(image) for image in snapshot.images],
        error=_error(job),
        warnings=job.warnings,
        notice=_notice(job),
        worker=job.worker,
        batch_id=job.requested.get("batch_id"),
        retried_from=job.retried_from,
        created_at=iso(job.created_at),  # type: ignore[arg-type]
        started_at=iso(job.started_at),
        completed_at=iso(job.completed_at),
        deadline_at=iso(job.deadline_at),
        urls=_urls(job.id),
    )


def parent_view(job: Job) -> Parent | None:
    """Return what the job was made from; None for a job that names no parent."""
    parent = job.input.get("parent")
    if not parent:
        return None
    return Parent(image=parent.get("image"), upload=parent.get("upload"), mode=job.input.get("refine_mode"))


def _notice(job: Job) -> str | None:
    """Return the notice of the model that rendered the images, for an enlarged one that of its parent's."""
    parent = (job.input.get("parent") or {}) if job.kind == JobKind.UPSCALE else {}
    return notice_of(parent.get("model") or job.model)


def _urls(job_id: str) -> JobUrls:
    base = link(f"/v1/jobs/{job_id}")
    return JobUrls(self=base, events=f"{base}/events", cancel=f"{base}/cancel", retry=f"{base}/retry")


def output_view(image: Image) -> Output:
    """Convert a finished image."""
    return Output(
        id=image.id,
        index=image.index,
        seed=image.seed,
        width=image.width,
        height=image.height,
        format=image.format,
        bytes=image.bytes,
        sha256=image.sha256,
        rating=image.rating,
        safety=_safety(image),
        **image_urls(image.id),
    )


def _safety(image: Image) -> SafetyRecord | None:
    found = image.record.get("safety")
    return SafetyRecord.model_validate(found) if found else None


def _error(job: Job) -> JobError | None:
    if job.error_code is None:
        return None
    return JobError(
        code=job.error_code, message=job.error_message or job.error_code, retryable=rule_for(job.error_code).retry
    )


def progress_view(job: Job, report: dict[str, Any] | None) -> Progress | None:
    """Convert a worker's progress report; None when it is about an earlier attempt or the job does not run."""
    if job.status != JobStatus.RUNNING or not report or report.get("attempt") not in (None, job.attempt):
        return None
    step, steps = int(report.get("step") or 0), int(report.get("steps") or 0)
    value = report.get("value")
    return Progress(
        value=float(value) if value is not None else (step / steps if steps else 0.0),
        step=step,
        steps=steps,
        seconds_per_step=report.get("seconds_per_step"),
        eta_seconds=report.get("eta_seconds"),
        preview_url=link(f"/v1/jobs/{job.id}/preview"),
    )


def _timings(job: Job) -> Timings:
    """Return the worker's measurements once the job has ended; before that, times from the row and the clock."""
    end = job.completed_at or time.time()
    measured = job.timings or {}
    return Timings(
        queued_seconds=_rounded(measured.get("queued_seconds", queued_seconds(job, end))),
        loading_seconds=_rounded(measured.get("loading_seconds")),
        rendering_seconds=_rounded(measured.get("rendering_seconds")),
        storing_seconds=_rounded(measured.get("storing_seconds")),
        total_seconds=_rounded(end - job.created_at),
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(max(seconds, 0.0), 4)


def history_view(events: Sequence[JobEvent], attempts: Sequence[Attempt]) -> JobHistory:
    """Convert events and attempts, oldest first."""
    return JobHistory.model_construct(
        events=[event_view(event) for event in events], attempts=[_attempt(attempt) for attempt in attempts]
    )


def event_view(event: JobEvent) -> JobHistoryEvent:
    """Convert one row of the history."""
    return JobHistoryEvent.model_construct(
        revision=event.revision,
        at=iso(event.at),  # type: ignore[arg-type]
        from_status=JobStatus(event.from_status) if event.from_status else None,
        to_status=JobStatus(event.to_status),
        attempt=event.attempt,
        worker=event.worker,
        code=event.code,
        message=event.message,
    )


def _attempt(attempt: Attempt) -> AttemptAnswer:
    error = None
    if attempt.error_code is not None:
        error = JobError(
            code=attempt.error_code,
            message=attempt.error_message or attempt.error_code,
            retryable=rule_for(attempt.error_code).retry,
        )
    return AttemptAnswer.model_construct(
        number=attempt.number,
        worker=attempt.worker,
        started_at=iso(attempt.started_at),  # type: ignore[arg-type]
        ended_at=iso(attempt.ended_at),
        outcome=attempt.outcome,
        error=error,
    )
