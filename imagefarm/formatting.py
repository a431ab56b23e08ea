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
_WHAT_TO_DO = {
    "out_of_memory": "Ask for a smaller size or fewer images, or give the worker a thriftier IMAGEFARM_MEMORY_POLICY.",
    "storage_unavailable": "Free space on the disk of the farm's data directory, then retry.",
    "model_unavailable": "See `imagefarm doctor` and `imagefarm models list` on the worker's machine.",
    "non_finite_latents": "Try another seed, fewer steps or less guidance: the same request would fail the same way.",
    "invalid_input": "Change the request as the message says.",
    "engine_lost": "See the worker's log for why its engine went away.",
    "worker_lost": "See the worker's log for why it went away.",
}


def seconds(value: float | None) -> str:
    """`0.42 s`, `12 s`, `3 min 5 s`, `2 h 10 min`; a dash for none."""
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
    """How long since then."""
    return seconds(max((datetime.now(UTC) - moment).total_seconds(), 0.0))


def one_line(text: str, length: int = 60) -> str:
    """A text in one line, cut."""
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"


def status_text(job: Job) -> str:
    """Where it stands, in a few words: why it waits, how far it is, why it failed."""
    if job.status is JobStatus.QUEUED and job.queue is not None:
        eta = f" It may end in {seconds(job.queue.eta_seconds)}." if job.queue.eta_seconds is not None else ""
        return f"{job.queue.reason}{eta}"
    if job.status is JobStatus.RUNNING:
        return "cancel requested" if job.cancel_requested else _progress(job)
    return job.error.message if job.error is not None else ""


def _progress(job: Job) -> str:
    progress = job.progress
    if progress is None:
        return f"begins on {job.worker}"
    left = f", {seconds(progress.eta_seconds)} left" if progress.eta_seconds is not None else ""
    return f"step {progress.step} of {progress.steps}{left}"


def advice(job: Job) -> Iterator[str]:
    """What to do about a job that ended without pictures."""
    if job.error is not None and job.status in (JobStatus.FAILED, JobStatus.HELD) and job.error.code in _WHAT_TO_DO:
        yield _WHAT_TO_DO[job.error.code]
    if job.status is JobStatus.HELD:
        yield f"Its {job.max_attempts} attempts are used up. `imagefarm retry {job.id}` queues it again."
    elif job.status in (JobStatus.FAILED, JobStatus.EXPIRED, JobStatus.CANCELED):
        yield f"`imagefarm retry {job.id}` makes a new job of it."
