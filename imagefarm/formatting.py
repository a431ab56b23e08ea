"""Format durations, statuses and advice about jobs for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from core.lifecycle import JobStatus
from core.schemas.jobs import Job

COLOURS = {
    JobStatus.QUEUED: "yellow",
    JobStatus.RUNNING: "cyan",
    JobStatus.SUCCEEDED: "green",
    JobStatus.FAILED: "red",
    JobStatus.HELD: "red",
    JobStatus.CANCELED: "bright_black",
    JobStatus.EXPIRED: "bright_black",
}
_ADVICE = {
    "out_of_memory": "Request a smaller size or fewer images, or set a smaller IMAGEFARM_MEMORY_POLICY on the worker.",
    "storage_unavailable": "Free space on the disk of the farm's data directory, then retry.",
    "model_unavailable": "Run `imagefarm doctor` and `imagefarm models list` on the worker's machine.",
    "non_finite_latents": "Try another seed, fewer steps or less guidance: the same request fails again.",
    "black_image": "Try another seed, or other steps and guidance: the same request is black again.",
    "safety_rejected": "Change the prompt or the seed: the farm's safety hook does not let this image out.",
    "safety_hook_failed": "See the worker's log for the error of its safety hook (IMAGEFARM_SAFETY_HOOK), then retry.",
    "invalid_input": "Correct the request as the message describes.",
    "engine_lost": "See the worker's log for why its engine process ended.",
    "worker_lost": "See the worker's log for why it stopped.",
}


def seconds(value: float | None) -> str:
    """Format a duration: `0.42 s`, `12 s`, `3 min 5 s`, `2 h 10 min`; `-` for None."""
    if value is None:
        return "-"
    if value < 10:
        return f"{value:.2f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def ago(moment: datetime) -> str:
    """Format the time since `moment`."""
    return seconds(max((datetime.now(UTC) - moment).total_seconds(), 0.0))


def one_line(text: str, length: int = 60) -> str:
    """Return the text on one line, cut to `length` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"


def status_text(job: Job) -> str:
    """Describe a job's state: why it waits, its progress, or why it failed."""
    if job.status is JobStatus.QUEUED and job.queue is not None:
        eta = f" Estimated to finish in {seconds(job.queue.eta_seconds)}." if job.queue.eta_seconds is not None else ""
        return f"{job.queue.reason}{eta}"
    if job.status is JobStatus.RUNNING:
        return "cancel requested" if job.cancel_requested else _progress(job)
    return job.error.message if job.error is not None else ""


def _progress(job: Job) -> str:
    progress = job.progress
    if progress is None:
        return f"starting on {job.worker}"
    left = f", {seconds(progress.eta_seconds)} left" if progress.eta_seconds is not None else ""
    return f"step {progress.step} of {progress.steps}{left}"


def advice(job: Job) -> Iterator[str]:
    """Yield what to do about a job that ended without images."""
    if job.error is not None and job.status in (JobStatus.FAILED, JobStatus.HELD) and job.error.code in _ADVICE:
        yield _ADVICE[job.error.code]
    if job.status is JobStatus.HELD:
        yield f"Its {job.max_attempts} attempts are used up. `imagefarm retry {job.id}` queues it again."
    elif job.status in (JobStatus.FAILED, JobStatus.EXPIRED, JobStatus.CANCELED):
        yield f"`imagefarm retry {job.id}` submits it again as a new job."
