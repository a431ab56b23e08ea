"""Queue position of a job, why it waits, and when it may end."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from api.image_sizes import fits
from api.overview import Overview
from api.queue_times import capable_workers, queue_times
from core.retries import EXCLUDING_CODES
from core.schemas.jobs import QueuePlace
from core.work import work_of
from db.jobs.read import Snapshot
from db.statistics import RecentMean
from db.tables import Worker

_RESUME = "`imagefarm workers resume NAME`, or POST /v1/workers/NAME/resume"


def queue_place(snapshot: Snapshot, overview: Overview, recent: RecentMean | None) -> QueuePlace | None:
    """Return the job's place in the queue; None unless it is queued."""
    job, excluded = snapshot.job, snapshot.excluded
    if job.status != "queued":
        return None
    capable = capable_workers(job.model, overview.serving(job.model), job.input, excluded)
    return QueuePlace(
        position=snapshot.position,
        eta_seconds=eta(job.model, snapshot.position, overview, recent, job.input, excluded),
        reason=waiting_reason(snapshot, overview),
        capable_workers=[worker.name for worker in capable],
    )


def eta(
    model: str,
    position: int | None,
    overview: Overview,
    recent: RecentMean | None,
    given: Mapping[str, Any] | None = None,
    excluded: Collection[str] = (),
) -> float | None:
    """Estimate the seconds until the job at `position` ends; None without workers or anything to estimate from.

    `given`: its normalised parameters; None for a typical job. `excluded`: the workers that may not take it.
    """
    times = queue_times(model, overview, recent, given, excluded)
    work = work_of(given) if given else None
    return None if times is None or position is None else round(times.until_end(position, work), 2)


def waiting_reason(snapshot: Snapshot, overview: Overview) -> str:
    """Return why a queued job waits, in a sentence or two."""
    job, position = snapshot.job, snapshot.position
    back_off = job.available_at - time.time()
    if back_off > 0.5:
        return f"It is retried in {back_off:.0f} s, after: {job.error_message or 'an error'}"
    return reason_not_taken(job.model, job.input, overview, snapshot.excluded) or (
        "It is next." if position == 1 else f"{(position or 1) - 1} jobs are before it."
    )


def reason_not_taken(
    model: str, given: Mapping[str, Any], overview: Overview, excluded: Mapping[str, str] = MappingProxyType({})
) -> str | None:
    """Return why no worker takes a job of this model and these normalised parameters now; None when one does.

    `excluded`: names of workers -> the error codes after which they may not take it.
    """
    workers = overview.serving(model)
    if not workers:
        return reason_not_served(model, overview)
    capable = capable_workers(model, workers, given, excluded)
    if not capable:
        return _reason_none_capable(model, given, workers, excluded)
    return _reason_not_claimed(capable) or _reason_not_loaded(model, capable, overview)


def _reason_not_claimed(workers: Sequence[Worker]) -> str | None:
    """Return why none of these live workers claims a job now; None when one does."""
    if (held_back := _reason_held_back(workers)) is not None:
        return held_back
    if not any(worker.state in ("ready", "unloaded") for worker in workers):
        return f"The model is being loaded by {', '.join(worker.name for worker in workers)}."
    return None


def _reason_held_back(workers: Sequence[Worker]) -> str | None:
    """Return the one reason for which none of these live workers claims a job; None where there is none, or several."""
    if all(worker.paused_at is not None for worker in workers):
        return f"Every worker of this model is paused: resume one with {_RESUME}."
    if all(worker.drain_requested_at is not None or worker.state == "draining" for worker in workers):
        return "Every worker of this model is about to stop."
    if all(worker.quarantined_until is not None for worker in workers):
        reasons = " ".join(f"{worker.name}: {worker.quarantine_reason}" for worker in workers)
        return f"Every worker of this model is in quarantine. {reasons} End that with {_RESUME}."
    blocked = next((worker for worker in workers if worker.state == "blocked"), None)
    if blocked is not None and not any(worker.state == "ready" for worker in workers):
        return f"Worker {blocked.name} waits: {blocked.message}"
    return None


def _reason_none_capable(
    model: str, given: Mapping[str, Any], workers: Sequence[Worker], excluded: Mapping[str, str]
) -> str:
    """Return why none of the live workers of its model may take a job now; `excluded`: names -> error codes."""
    names = ", ".join(worker.name for worker in workers)
    if all(excluded.get(worker.name) in EXCLUDING_CODES for worker in workers):
        failed = ", ".join(f"{worker.name} ({excluded[worker.name]})" for worker in workers)
        return f"Every worker of this model is excluded from it after an error: {failed}. It is held unless another starts."
    size = f"{given.get('width')}x{given.get('height')}"
    fitting = [worker for worker in workers if fits(worker, model, given)]
    if not fitting:
        return f"{size} needs more memory than {names} has; it waits for a larger worker."
    may_take = [worker for worker in fitting if worker.name not in excluded]
    if len(may_take) == len(workers) and (held_back := _reason_held_back(workers)) is not None:
        return held_back
    each = ", ".join(f"{worker.name} {_obstacle(worker, size, excluded, fits=worker in fitting)}" for worker in workers)
    return f"No worker of this model can take it now: {each}."


def _obstacle(worker: Worker, size: str, excluded: Mapping[str, str], *, fits: bool) -> str:
    """Return why one worker may not take a job now, in parentheses; what lasts longest comes first."""
    code = excluded.get(worker.name)
    obstacles = (
        (code in EXCLUDING_CODES, f"(excluded after {code})"),
        (not fits, f"(too little memory for {size})"),
        (worker.drain_requested_at is not None or worker.state == "draining", "(about to stop)"),
        (worker.paused_at is not None, "(paused)"),
        (worker.quarantined_until is not None, "(in quarantine)"),
        (code is not None, f"(excluded for a minute after {code})"),
    )
    state = f"({(worker.message or worker.state).rstrip('.')})"
    return next((text for holds, text in obstacles if holds), state)


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
