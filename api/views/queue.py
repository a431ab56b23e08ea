"""Queue position of a job, why it waits, and when it may end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from api.image_sizes import fits
from api.overview import Overview
from api.queue_times import queue_times
from core.schemas.jobs import QueuePlace
from core.work import work_of
from db.jobs.read import Snapshot
from db.statistics import RecentMean
from db.tables import Job, Worker


def queue_place(snapshot: Snapshot, overview: Overview, recent: RecentMean | None) -> QueuePlace | None:
    """Return the job's place in the queue; None unless it is queued."""
    job = snapshot.job
    if job.status != "queued":
        return None
    workers = overview.serving(job.model)
    return QueuePlace(
        position=snapshot.position,
        eta_seconds=eta(job.model, snapshot.position, overview, recent, job.input),
        reason=waiting_reason(job, workers, snapshot.position, overview),
        capable_workers=[worker.name for worker in workers],
    )


def eta(
    model: str,
    position: int | None,
    overview: Overview,
    recent: RecentMean | None,
    given: Mapping[str, Any] | None = None,
) -> float | None:
    """Estimate the seconds until the job at `position` ends; None without workers or anything to estimate from.

    `given`: its normalised parameters; None for a typical job.
    """
    times = queue_times(model, overview, recent, given)
    work = work_of(given) if given else None
    return None if times is None or position is None else round(times.until_end(position, work), 2)


def waiting_reason(job: Job, workers: Sequence[Worker], position: int | None, overview: Overview) -> str:
    """Return one sentence on why the job waits."""
    back_off = job.available_at - time.time()
    if back_off > 0.5:
        return f"It is retried in {back_off:.0f} s, after: {job.error_message or 'an error'}"
    if not workers:
        return reason_not_served(job.model, overview)
    return (
        reason_not_claimed(workers)
        or _reason_too_large(job, workers)
        or _reason_not_loaded(job.model, workers, overview)
        or ("It is next." if position == 1 else f"{(position or 1) - 1} jobs are before it.")
    )


def reason_not_claimed(workers: Sequence[Worker]) -> str | None:
    """Return why none of these live workers claims a job now; None when one does."""
    if all(worker.paused_at is not None for worker in workers):
        return "Every worker of this model is paused: resume one with POST /v1/workers/NAME/resume."
    if all(worker.drain_requested_at is not None or worker.state == "draining" for worker in workers):
        return "Every worker of this model is about to stop."
    if all(worker.quarantined_until is not None for worker in workers):
        reasons = " ".join(f"{worker.name}: {worker.quarantine_reason}" for worker in workers)
        return f"Every worker of this model is in quarantine. {reasons} POST /v1/workers/NAME/resume ends that."
    blocked = next((worker for worker in workers if worker.state == "blocked"), None)
    if blocked is not None and not any(worker.state == "ready" for worker in workers):
        return f"Worker {blocked.name} waits: {blocked.message}"
    if not any(worker.state in ("ready", "unloaded") for worker in workers):
        return f"The model is being loaded by {', '.join(worker.name for worker in workers)}."
    return None


def _reason_too_large(job: Job, workers: Sequence[Worker]) -> str | None:
    """Return what a job waits for that fits on none of these workers; None where it fits on one, or none knows."""
    if any(fits(worker, job.model, job.input) for worker in workers):
        return None
    size = f"{job.input['width']}x{job.input['height']}"
    return f"{size} needs more memory than {', '.join(worker.name for worker in workers)} has; it waits for a larger worker."


def _reason_not_loaded(model: str, workers: Sequence[Worker], overview: Overview) -> str | None:
    """Return what happens before a job of a model that no worker has loaded; None where one has."""
    states = {worker.name: overview.model_state(worker, model) for worker in workers}
    if "loaded" in states.values() or any(len(overview.listed(worker)) == 1 for worker in workers):
        return None  # A worker of one model has it, or loads nothing else.
    if loading := [name for name, state in states.items() if state == "loading"]:
        return f"The model is being loaded by {', '.join(loading)}, once the jobs that run there have ended."
    return f"No worker has this model loaded: {', '.join(states)} will load it when its other models leave time."


def reason_not_served(model: str, overview: Overview) -> str:
    """Return why no live worker serves this model."""
    for worker in overview.live:
        row = overview.row(worker, model)
        if row is not None and row.state == "unavailable":
            return f"Worker {worker.name}: {row.message or 'the model could not be loaded.'}"
    failed = [worker for worker in overview.workers if worker.model == model and worker.state == "failed"]
    if failed:
        return f"Worker {failed[0].name} failed: {failed[0].message or 'it reported no reason'}."
    known = [worker for worker in overview.workers if model in overview.listed(worker)]
    if known:
        ago = time.time() - max(worker.seen_at for worker in known)
        started = overview.cold_start_seconds(model)
        took = "" if started is None else f" A start takes about {started:.0f} s."
        return (
            f"No worker of this model is up; the last was seen {ago:.0f} s ago. The job waits until one is up again.{took}"
        )
    return f"No worker of this model is up. Start one with `imagefarm worker --model {model}`."
