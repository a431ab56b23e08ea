"""Estimate what a request takes: seconds, memory, its place in the queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Literal

from api.caller import Caller
from api.expanded_texts import TextExpander
from api.farm import Farm
from api.overview import Overview
from api.queue_times import QueueTimes, claiming_workers, likely_worker, queue_times
from api.submission import prepare_job
from api.threads import in_thread
from api.uploads import find_start_images
from api.views.queue import reason_not_taken
from core.catalogue import CatalogueModel
from core.schemas.estimate import Estimate
from core.schemas.jobs import JobRequest
from db.estimates import RecentJob, queued_ahead, recent_jobs
from db.jobs.submit import NewJob
from db.statistics import RecentMean
from db.tables import Worker

Basis = Literal["same-settings", "scaled", "expected", "none"]
_SAME = ("width", "height", "num_inference_steps", "guidance_scale", "num_images")


async def estimate(farm: Farm, caller: Caller, request: JobRequest) -> Estimate:
    """Check a request as a submit does, and return what it would take; raise the errors of the request."""
    overview = await farm.overview.get()
    start = await find_start_images(farm, caller, request)
    texts = await in_thread(TextExpander(farm, caller).expand, request)
    loras = await in_thread(farm.loras.files) if texts.request.may_name_loras else ()
    new = prepare_job(farm, caller, request, overview, start, loras, texts)
    mean = (await farm.recent_means()).get(new.model)
    return await in_thread(_estimate, farm, new, overview, mean, request.priority)


def _estimate(farm: Farm, new: NewJob, overview: Overview, mean: RecentMean | None, priority: int) -> Estimate:
    given, model = new.input, farm.catalogue.get(new.model)
    recent = recent_jobs(farm.database, new.model)
    workers = overview.serving(new.model)
    claiming, loading_seconds = claiming_workers(new.model, overview, given)
    likely = likely_worker(new.model, claiming, overview)
    # What other workers took says little where speeds differ.
    there = [job for job in recent if likely is not None and job.worker == likely.name]
    seconds, basis = _seconds(given, model, there or recent, workers)
    ahead = queued_ahead(farm.database, new.model, priority)
    return Estimate(
        model=new.model,
        **{name: given[name] for name in _SAME},
        seconds=None if seconds is None else round(seconds, 2),
        basis=basis,
        wait_seconds=_wait(queue_times(new.model, overview, mean, given), claiming, loading_seconds, ahead),
        position=ahead + 1,
        memory_gb=_memory(recent, workers),
        cost_factor=round(_work(given, model) / _work(model.defaults.model_dump(), model), 2),
        reason=reason_not_taken(new.model, given, overview),
        warnings=new.warnings,
    )


def _work(given: Mapping[str, Any], model: CatalogueModel) -> float:
    """Return forward passes x pixels of all images of a job."""
    passes = model.forward_passes(int(given["num_inference_steps"]), float(given.get("guidance_scale") or 1.0))
    return passes * int(given["width"]) * int(given["height"]) * int(given.get("num_images") or 1)


def _seconds(
    given: Mapping[str, Any], model: CatalogueModel, recent: Sequence[RecentJob], workers: Sequence[Worker]
) -> tuple[float | None, Basis]:
    same = [job.seconds for job in recent if all(job.input.get(name) == given[name] for name in _SAME)]
    if same:
        return median(same), "same-settings"
    wanted = _work(given, model)
    if recent:
        return median(job.seconds / _work(job.input, model) for job in recent) * wanted, "scaled"
    for worker in workers:
        expected = worker.info.get("expected") or {}
        if expected.get("seconds_per_image") and worker.info.get("model") == model.id:
            return float(expected["seconds_per_image"]) * wanted / _work(expected, model), "expected"
    return None, "none"


def _wait(times: QueueTimes | None, claiming: Sequence[Worker], loading_seconds: float, ahead: int) -> float | None:
    """Return the seconds before a worker takes the job; None where none does, or nothing is known of their speed."""
    if times is not None:
        return round(times.until_start(ahead), 2)
    return round(loading_seconds, 2) if claiming and not ahead else None


def _memory(recent: Sequence[RecentJob], workers: Sequence[Worker]) -> float | None:
    for job in recent:
        peak = job.record.get("peak_memory") or {}
        if found := peak.get("device") or peak.get("host"):
            return float(found)
    peaks = ((worker.info.get("expected") or {}).get("peak_gb") for worker in workers)
    return next((float(gigabytes) for gigabytes in peaks if gigabytes), None)
